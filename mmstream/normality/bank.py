"""Remembered vectors, and how far a new one is from its nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.gaussian import Gaussian
from mmstream.normality.rows import Rows
from mmstream.normality.scaling import Scaling
from mmstream.normality.translation import Translation, translation
from mmstream.normality.whitening import Axes, num_axes, num_coordinates
from mmstream.stages import Neighbour
from mmstream.types import Float32

FIRST = 64
"""Windows judged by the `Gaussian`; then the bank starts with them."""

MAX_BYTES = 384 * 1024
"""Wide vectors get fewer rows, so that all channels of a feed stay within 4 MiB."""

APART_S = 10.0
"""Rows closer in time than this show the same moment and say nothing about how rare it is."""

TURNOVER_S = 86_400.0
"""A full bank renews itself no faster than once in so long: it must remember last night at noon."""

YOUNG = 4096
"""Up to so many windows the scale is refitted whenever their number has doubled; later nightly."""

NIGHT_S = 3 * 3600.0
"""Seconds after midnight (UTC, in the feed's own time) at which the night's work is due."""

COPIES = 5
"""What an operator called a false alarm counts for so many neighbours."""

RADIUS_SHARE = 0.25
"""Of the usual distance to the nearest other row: nearer than that is the same again."""

MERGED_SHARE = 0.75
MERGED_GROWTH = 1.25
"""The radius grows with every thinning, so that a feed that always shows something new is not thinned for ever."""

MERGE_AT = 0.5
"""A full bank that took in so much of its size since last night is thinned to `MERGED_SHARE`."""

_CHECK_EVERY = 64
_SAMPLE = 256


class Bank:
    """Mean distance to the ``k`` nearest of at most ``max_rows`` remembered vectors, exactly.

    Dimensions are brought to one scale, refitted while young and then nightly (`num_rescaled`
    counts; `translation` brings scores from before to the scale after). With ``density``
    the distance is divided by the mean of the same distance of those neighbours, as in LOF
    (Breunig et al., 2000), floored at the bank's median so that many copies of one moment do not
    make everything near them look far. A vector within the dedup radius of a row adds to that
    row's weight. A bank that is full while young is thinned to rows that lie as far apart as can be, so that
    it spans all it has seen (forgetting the oldest instead cost 0.04 AUC on Ped2); later it forgets the row of
    least ``weight * 2^(-age / 7 d)``, and its radius grows until it renews itself at most once a day.

    With ``whiten`` distances are measured along the axes of the rows' own covariance (`Axes`), fitted again whenever
    the scale is. For that the rows keep what they were made from, in half precision.
    """

    def __init__(
        self,
        *,
        dim: int,
        density: bool = True,
        least: float = 0.0,
        max_rows: int = 2048,
        max_bytes: int = MAX_BYTES,
        k: int = 5,
        whiten: bool = False,
    ) -> None:
        if dim < 1 or k < 1 or max_rows < FIRST:
            raise ValueError(f"need dim >= 1, k >= 1, max_rows >= {FIRST}, got {dim = }, {k = }, {max_rows = }")
        self._density = density
        self._least = least
        self._first: Gaussian | None = Gaussian(dim=dim, capacity=FIRST, least=least)
        self._first_s = np.zeros(FIRST, np.float64)
        self._scaling = Scaling(mean=np.zeros(dim, np.float32), std=np.ones(dim, np.float32))
        self._whiten = whiten
        self._axes: Axes | None = None
        row_bytes, carried = 4 * dim, 0
        if whiten:
            max_bytes -= 4 * dim * num_axes(dim)
            row_bytes, carried = 4 * num_coordinates(dim) + 2 * dim, dim
        capacity = min(max_rows, max(FIRST, max_bytes // row_bytes))
        self._rows = Rows(capacity=capacity, dim=num_coordinates(dim) if whiten else dim, k=k, carried=carried)
        self._learned = 0
        self._radius = 0.0
        self._num_inserted = 0
        self._inserted_before = 0
        self._checked_s = 0.0
        self._night = 0
        self.num_rescaled = 0
        self.translation = Translation()
        """Of scores from before the last rescaling."""

    @property
    def num_rows(self) -> int:
        return self._rows.size

    def __len__(self) -> int:
        return self._learned

    def score(self, vector: Float32) -> float:
        """Larger is more unlike the past; 0.0 while fewer than 8 vectors are known."""
        if self._first is not None:
            return self._first.score(vector)
        distance, local = self._rows.distance(self._point(vector)[0])
        return distance / local if self._density else distance

    def nearest(self, vector: Float32, count: int) -> list[Neighbour]:
        """The ``count`` nearest remembered vectors in the encoder's own units, nearest first; fewer when fewer are
        known. Distances are those between scaled vectors."""
        if self._first is not None:
            rows = self._first.rows
            if not len(rows):
                return []
            scaling = Scaling.of(rows, self._least)
            apart = np.linalg.norm(scaling.apply(rows) - scaling.apply(vector), axis=1)
            order = np.argsort(apart)[:count]
            return [
                Neighbour(at_s=float(self._first_s[i]), distance=float(apart[i]), vector=rows[i].copy()) for i in order
            ]
        distances, which = self._rows.neighbours(self._point(vector)[0], count)
        raw = self._raw(which)
        seen_s = self._rows.seen_s[which]
        return [
            Neighbour(at_s=float(at_s), distance=float(distance), vector=row)
            for at_s, distance, row in zip(seen_s, distances, raw, strict=True)
        ]

    def learn(self, vector: Float32, at_s: float) -> None:
        self._learned += 1
        if self._first is not None:
            self._learn_first(self._first, vector, at_s)
            return
        point, scaled = self._point(vector)
        rows = self._rows
        nearest, which = rows.neighbours(point, rows.k)
        if nearest[0] <= self._radius:
            rows.weights[which[0]] += 1
            rows.seen_s[which[0]] = max(at_s, rows.seen_s[which[0]])
        else:
            if rows.size == rows.capacity and self._learned <= YOUNG:
                self._merge()
            if rows.insert(point, local=float(nearest.mean()), at_s=at_s, carried=scaled):
                self._slow_down(at_s)
        if self._learned <= YOUNG and self._learned & (self._learned - 1) == 0:
            self._rescale()
        self._work_at_night(at_s)

    def absorb(self, vector: Float32, at_s: float) -> None:
        """An operator has called this normal: from now on it counts for all ``k`` neighbours of what is like it."""
        if self._first is not None:
            for _ in range(COPIES):
                self.learn(vector, at_s)
            return
        self._learned += 1
        point, scaled = self._point(vector)
        self._rows.insert(point, local=self._rows.reach(point), at_s=at_s, copies=COPIES, carried=scaled)

    def forget(self, vector: Float32) -> None:
        """Take back one `absorb` of this vector (or of one that differs only by rounding)."""
        rows = self._rows
        if self._first is not None:
            return
        nearest, which = rows.neighbours(self._point(vector)[0], 1)
        if nearest[0] <= 0.1 * rows.floor and rows.copies[which[0]] > 1:
            rows.keep(np.delete(np.arange(rows.size), which[0]))

    def self_scores(self) -> Float32:
        """(n,) what each row would have scored against the rows more than `APART_S` away from it.

        For a bank that has just started: its history of scores until it has made its own.
        """
        scores = self._scores_of(np.arange(self._rows.size))
        return scores[np.isfinite(scores)]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as arrays that `load` of a bank of the same shape takes back exactly."""
        state: dict[str, npt.NDArray[Any]] = {f"rows.{name}": array for name, array in self._rows.state().items()}
        state |= {
            "mean": self._scaling.mean,
            "std": self._scaling.std,
            "numbers": np.array([self._radius, self._checked_s], np.float64),
            "counts": np.array(
                [self._learned, self._num_inserted, self.num_rescaled, self._inserted_before, self._night], np.int64
            ),
        }
        if self._axes is not None:
            state |= {"turn": self._axes.turn, "deviations": self._axes.deviations}
        if self._first is not None:
            state |= {"first": self._first.state(), "first_s": self._first_s}
        return {name: array.copy() for name, array in state.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of a bank of this shape."""
        self._rows.load({name.removeprefix("rows."): a for name, a in state.items() if name.startswith("rows.")})
        self._scaling = Scaling(mean=state["mean"], std=state["std"])
        if self._whiten and "turn" in state:
            self._axes = Axes(turn=state["turn"], deviations=state["deviations"])
        self._radius, self._checked_s = (float(number) for number in state["numbers"])
        counts = [int(count) for count in state["counts"]]
        self._learned, self._num_inserted, self.num_rescaled, self._inserted_before, self._night = counts
        if "first" in state and self._first is not None:
            self._first.load(state["first"])
            self._first_s[:] = state["first_s"]
        else:
            self._first = None

    def _learn_first(self, first: Gaussian, vector: Float32, at_s: float) -> None:
        self._first_s[len(first)] = at_s
        first.learn(vector, at_s)
        if len(first) < FIRST:
            return
        if self._whiten:
            self._scaling = Scaling.of(first.rows, self._least)  # as they come, numbers may not fit half precision
            self._axes = Axes.of(self._scaling.apply(first.rows))
        for row, seen_s in zip(first.rows, self._first_s, strict=True):
            point, scaled = self._point(row)
            self._rows.insert(point, local=0.0, at_s=float(seen_s), carried=scaled)
        self._first = None
        self._checked_s, self._night = at_s, _night_of(at_s)
        self._rescale()

    def _slow_down(self, at_s: float) -> None:
        """Widen the radius while a full bank takes in more than its size per `TURNOVER_S`."""
        self._num_inserted += 1
        if self._num_inserted % _CHECK_EVERY == 0:
            fair_s = TURNOVER_S * _CHECK_EVERY / self._rows.capacity
            if at_s - self._checked_s < fair_s:
                self._radius = max(1.1 * self._radius, 0.1 * self._rows.floor)
            self._checked_s = at_s
        if self._num_inserted % (self._rows.capacity // 2) == 0:
            self._rows.refresh()

    def _work_at_night(self, at_s: float) -> None:
        night = _night_of(at_s)
        if night <= self._night:
            return
        self._night = night
        rows = self._rows
        if rows.size == rows.capacity and self._num_inserted - self._inserted_before >= MERGE_AT * rows.capacity:
            self._merge()
        self._inserted_before = self._num_inserted
        self._rescale()

    def _merge(self) -> None:
        self._rows.merge(int(MERGED_SHARE * self._rows.capacity))
        self._radius = max(MERGED_GROWTH * self._radius, RADIUS_SHARE * self._rows.refresh())

    def _rescale(self) -> None:
        rows = self._rows
        sample = np.linspace(0, rows.size - 1, min(_SAMPLE, rows.size)).astype(np.intp)
        scores_before = self._scores_of(sample) if self.num_rescaled else None
        raw = self._raw(np.arange(rows.size))
        before, floor = self._scaling, rows.floor
        self._scaling = Scaling.of(raw, self._least)
        scaled = self._scaling.apply(raw)
        if self._whiten:
            # one false alarm far outside would make the axis it lies on a long one, and all that lies there usual
            self._axes = Axes.of(scaled[rows.copies[: rows.size] == 1])
            rows.carried[: rows.size] = scaled
        rows.replace_points(self._axes.apply(scaled) if self._axes is not None else scaled)
        nearest = rows.refresh()
        if self.num_rescaled:
            # turned axes have no scale in common with those of before: distances between the same rows have
            grown = rows.floor / floor if self._whiten else float(np.median(before.std / self._scaling.std))
            self._radius *= grown
        self._radius = max(self._radius, RADIUS_SHARE * nearest)
        if scores_before is not None:
            self.translation = translation(scores_before, self._scores_of(sample))
        self.num_rescaled += 1

    def _point(self, vector: Float32) -> tuple[Float32, Float32 | None]:
        """-> (the point that is compared, what its row must carry to be turned later)."""
        scaled = self._scaling.apply(vector)
        return (scaled, None) if self._axes is None else (self._axes.apply(scaled), scaled)

    def _raw(self, which: npt.NDArray[np.intp]) -> Float32:
        """(n, D) rows in the encoder's own units."""
        rows = self._rows
        return self._scaling.undo(rows.carried[which].astype(np.float32) if self._whiten else rows.points[which])

    def _scores_of(self, which: npt.NDArray[np.intp]) -> Float32:
        if not len(which):
            return np.zeros(0, np.float32)
        distances, local = self._rows.own_distances(which, APART_S)
        return (distances / local if self._density else distances).astype(np.float32)


def _night_of(at_s: float) -> int:
    return int((at_s - NIGHT_S) // 86_400.0)
