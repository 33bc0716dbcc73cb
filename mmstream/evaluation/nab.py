"""The Numenta Anomaly Benchmark's score, written from its paper, and its simplest detector.

A. Lavin and S. Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly
Benchmark", ICMLA 2015 (arXiv:1510.03336). A detection inside a labelled window earns the more
the earlier it is, and only the first one counts; every other detection costs, the less the
closer it follows a window; a window without a detection costs its whole worth. One threshold is
chosen for all series together, and the sum is scaled so that a detector that never speaks has
0 and a perfect one 100.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from mmstream.types import Float64

PROBATION_SHARE = 0.15
MAX_PROBATION_ROWS = 750


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a detection is worth and what mistakes cost; the defaults are NAB's standard profile."""

    true_positive: float = 1.0
    false_positive: float = 0.11
    false_negative: float = 1.0


STANDARD = Profile()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredSeries:
    """A detector's scores on one series, with the rows of its labelled windows."""

    name: str
    scores: Float64
    """(n,): the higher, the more unusual."""
    windows: tuple[tuple[int, int], ...]
    """First and last row of each window, both inside it, in time order."""

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or np.isnan(self.scores).any():
            raise ValueError(f"{self.name}: want (n,) scores without NaN, got shape {self.scores.shape}")
        for first, last in self.windows:
            if not 0 <= first < last < len(self.scores):
                raise ValueError(f"{self.name}: window {first}..{last} is not inside 0..{len(self.scores) - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesResult:
    """What one series gave at the threshold that was chosen for all."""

    num_windows: int
    num_found: int
    num_false_rows: int
    score: float
    """0 = as if silent, 100 = perfect, below 0 = worse than silence; windowless series stay <= 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NabResult:
    """The normalised score over all series, and each series alone at the same threshold."""

    score: float
    threshold: float
    series: dict[str, SeriesResult]


def probation_rows(num_rows: int) -> int:
    """Rows at the start of a series in which detections are not judged.

    >>> probation_rows(4000), probation_rows(20000)
    (600, 750)
    """
    return min(int(PROBATION_SHARE * num_rows), MAX_PROBATION_ROWS)


def scaled_sigmoid(position: float) -> float:
    """Worth of a detection: near 1 at a window's start (-1), 0 at its end (0), near -1 far behind it.

    >>> [round(scaled_sigmoid(y), 3) for y in (-1.0, -0.5, 0.0, 0.5, 4.0)]
    [0.987, 0.848, 0.0, -0.848, -1.0]
    """
    return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def row_worths(series: ScoredSeries, profile: Profile) -> tuple[Float64, npt.NDArray[np.int64]]:
    """For each row, what a detection there is worth (n,), and which window it lies in (n,), -1 = none."""
    worths = np.full(len(series.scores), -profile.false_positive)
    owner = np.full(len(series.scores), -1, np.int64)
    best = scaled_sigmoid(-1.0)
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        until = series.windows[number + 1][0] if number + 1 < len(series.windows) else len(worths)
        for row in range(first, last + 1):
            worths[row] = profile.true_positive * scaled_sigmoid(-(last - row + 1) / width) / best
        for row in range(last + 1, until):
            worths[row] = profile.false_positive * scaled_sigmoid((row - last) / (width - 1))
        owner[first : last + 1] = number
    return worths, owner


def _gains(series: ScoredSeries, profile: Profile) -> tuple[Float64, Float64]:
    """Scores of the judged rows and what lowering the threshold past each of them adds to the sum.

    Within a window only the earliest detection counts, so a row adds the amount by which it is
    earlier than every row of its window that scored higher, and the first to be found also takes
    back the cost of a missed window.
    """
    worths, owner = row_worths(series, profile)
    gains = worths.copy()
    for number in range(len(series.windows)):
        rows = np.flatnonzero(owner == number)
        ranked = rows[np.argsort(-series.scores[rows], kind="stable")]
        reached = np.maximum.accumulate(worths[ranked])
        gains[ranked] = np.diff(reached, prepend=-profile.false_negative)
    judged = slice(probation_rows(len(gains)), None)
    return series.scores[judged], gains[judged]


def best_threshold(series: Sequence[ScoredSeries], profile: Profile = STANDARD) -> float:
    """The one threshold (a row is a detection when its score reaches it) with the highest sum over all series."""
    parts = [_gains(one, profile) for one in series]
    scores = np.concatenate([part[0] for part in parts])
    gains = np.concatenate([part[1] for part in parts])
    order = np.argsort(-scores, kind="stable")
    ranked, sums = scores[order], np.cumsum(gains[order])
    # Equal scores fall together: only the last of each run is a threshold that can be chosen.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    top = ends[np.argmax(sums[ends])]
    return float(ranked[top]) if sums[top] > 0.0 else math.inf


def _at(series: ScoredSeries, threshold: float, profile: Profile) -> tuple[SeriesResult, float]:
    worths, owner = row_worths(series, profile)
    found = series.scores >= threshold
    found[: probation_rows(len(found))] = False
    firsts = [rows[0] for n in range(len(series.windows)) if len(rows := np.flatnonzero(found & (owner == n)))]
    false_rows = found & (owner < 0)
    gained = sum(worths[row] + profile.false_negative for row in firsts) + float(worths[false_rows].sum())
    worth = (profile.true_positive + profile.false_negative) * max(len(series.windows), 1)
    result = SeriesResult(
        num_windows=len(series.windows),
        num_found=len(firsts),
        num_false_rows=int(false_rows.sum()),
        score=float(100.0 * gained / worth),
    )
    return result, float(gained)


def nab_score(
    series: Sequence[ScoredSeries], *, threshold: float | None = None, profile: Profile = STANDARD
) -> NabResult:
    """Score a detector's output on all ``series`` with one threshold, by default the best one, as NAB does.

    Raises:
        ValueError: there is no labelled window in any of the series, so nothing can be found.
    """
    num_windows = sum(len(one.windows) for one in series)
    if not num_windows:
        raise ValueError("no labelled window in any series: there is nothing to find, so there is no score")
    chosen = best_threshold(series, profile) if threshold is None else threshold
    results = {one.name: _at(one, chosen, profile) for one in series}
    gained = sum(gain for _, gain in results.values())
    worth = (profile.true_positive + profile.false_negative) * num_windows
    return NabResult(
        score=100.0 * gained / worth, threshold=chosen, series={name: result for name, (result, _) in results.items()}
    )


def log_normal_tail(distance: float) -> float:
    """Natural log of the chance that a standard normal lies beyond ``distance`` (>= 0) on one side.

    Past 30 deviations `math.erfc` underflows; the first term of its asymptotic series takes over.

    >>> round(log_normal_tail(0.0), 4), round(log_normal_tail(40.0), 1)
    (-0.6931, -804.6)
    """
    if distance < 30.0:
        return math.log(0.5 * math.erfc(distance / math.sqrt(2.0)))
    return -0.5 * distance * distance - math.log(distance * math.sqrt(2.0 * math.pi))


class WindowedGaussian:
    """NAB's control: how far in the tail of a normal curve over the last ``window`` values the next one is.

    The window grows until it is full and then moves in steps. The score is minus the log of the
    tail probability: the same order as NAB's ``1 - probability`` without running into its 1.0.

    >>> control = WindowedGaussian()
    >>> [round(control.push(value), 1) for value in (0.0, 1.0, 0.5, 0.5, 9.0)][3:]
    [0.7, 293.1]
    """

    def __init__(self, *, window: int = 6400, step: int = 100) -> None:
        if not 0 < step <= window:
            raise ValueError(f"need 0 < step <= window, got {step = }, {window = }")
        self._window, self._step = window, step
        self._kept: deque[float] = deque()
        self._waiting: list[float] = []
        self._sum = self._sum_squares = 0.0
        self._mean, self._deviation = 0.0, 1.0

    def push(self, value: float) -> float:
        """The surprise of ``value`` given those before it; 0 for the first."""
        score = -log_normal_tail(abs(value - self._mean) / self._deviation) if self._kept else 0.0
        if len(self._kept) < self._window:
            self._add([value])
            return score
        self._waiting.append(value)
        if len(self._waiting) == self._step:
            self._add(self._waiting)
            self._waiting = []
        return score

    def _add(self, values: list[float]) -> None:
        num_gone = max(len(self._kept) + len(values) - self._window, 0)
        for gone in list(islice(self._kept, num_gone)):
            self._kept.popleft()
            self._sum -= gone
            self._sum_squares -= gone * gone
        for value in values:
            self._kept.append(value)
            self._sum += value
            self._sum_squares += value * value
        self._mean = self._sum / len(self._kept)
        variance = self._sum_squares / len(self._kept) - self._mean**2
        self._deviation = math.sqrt(variance) if variance > 1e-12 else 1e-6
