"""How well scores separate unusual from normal, and what a threshold does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmstream.types import Float64

Flags = npt.NDArray[np.bool_]


def auc(scores: Float64, unusual: Flags) -> float:
    """Chance that an unusual moment scores above a normal one; ties count half (Mann and Whitney, 1947).

    nan without both kinds.

    >>> auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    normal, other = np.sort(scores[~unusual]), scores[unusual]
    if not len(normal) or not len(other):
        return float("nan")
    below = np.searchsorted(normal, other, side="left") + np.searchsorted(normal, other, side="right")
    return float(below.mean() / 2 / len(normal))


def auc_error(value: float, num_normal: int, num_unusual: int) -> float:
    """Standard error of an AUC of independent moments (Hanley and McNeil, 1982); nan without both kinds.

    >>> round(auc_error(0.5, 10, 10), 3)
    0.132
    """
    if not num_normal or not num_unusual:
        return float("nan")
    one, two = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (num_unusual - 1) * (one - value**2) + (num_normal - 1) * (two - value**2)
    return math.sqrt(max(0.0, spread) / (num_normal * num_unusual))


def auc_interval(
    scores: Mapping[str, Float64], unusual: Mapping[str, Flags], *, num_draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % of the micro AUC under bootstrap over clips: frames of one clip are no independent witnesses.

    Draws without both kinds of frames are drawn again.
    """
    names, random = sorted(scores), np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(20 * num_draws):
        chosen = [names[number] for number in random.integers(0, len(names), len(names))]
        value = auc(np.concatenate([scores[n] for n in chosen]), np.concatenate([unusual[n] for n in chosen]))
        if not np.isnan(value):
            draws.append(value)
        if len(draws) == num_draws:
            break
    if not draws:
        return float("nan"), float("nan")
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtThreshold:
    """What alerts above one threshold would have found."""

    event_recall: float
    """Share of the events with at least one moment above it."""
    false_frame_rate: float
    """Share of the normal frames above it."""
    delays_s: tuple[float, ...]
    """From the start of each found event to its first moment above it."""


def at_threshold(
    scores: Mapping[str, Float64], times_s: Mapping[str, Float64], unusual: Mapping[str, Flags], threshold: float
) -> AtThreshold:
    """An event is a run of unusual frames of one clip. Rates without any event or normal frame are nan."""
    delays_s: list[float] = []
    num_events = num_false = num_normal = 0
    for name, values in scores.items():
        above, flags = values > threshold, unusual[name]
        num_false += int((above & ~flags).sum())
        num_normal += int((~flags).sum())
        for first, last in runs(flags):
            num_events += 1
            found = np.flatnonzero(above[first:last])
            if found.size:
                delays_s.append(float(times_s[name][first + found[0]] - times_s[name][first]))
    return AtThreshold(
        event_recall=len(delays_s) / num_events if num_events else float("nan"),
        false_frame_rate=num_false / num_normal if num_normal else float("nan"),
        delays_s=tuple(delays_s),
    )


def runs(flags: Flags) -> Sequence[tuple[int, int]]:
    """The half-open ranges in which ``flags`` is True.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def poisson_interval(count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of the mean behind a count of independent happenings (Garwood, 1936).

    >>> low, high = poisson_interval(0)
    >>> low, round(high, 2)
    (0.0, 3.69)
    """
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else _poisson_mean(count - 1, 1.0 - tail)
    return low, _poisson_mean(count, tail)


def _poisson_mean(count: int, share: float) -> float:
    """The mean at which at most ``count`` happenings have a chance of ``share``."""
    low, high = 0.0, 10.0 * (count + 10.0)
    for _ in range(100):
        mean = (low + high) / 2
        logs = [number * math.log(mean) - mean - math.lgamma(number + 1) for number in range(count + 1)]
        low, high = (mean, high) if math.fsum(map(math.exp, logs)) > share else (low, mean)
    return (low + high) / 2


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927).

    >>> [round(value, 2) for value in share_interval(9, 10)]
    [0.6, 0.98]
    """
    if not count:
        return 0.0, 1.0
    z2, share = 1.96**2, hits / count
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = 1.96 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
