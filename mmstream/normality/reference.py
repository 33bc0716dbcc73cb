"""How rare a raw score is among this feed's own: ranks, and a tail beyond the largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32, UInt8

Express = Callable[[Float32, UInt8], Float32]
"""(scores, their tags) -> the scores as they are to be ranked."""

P_FLOOR = 1e-8
TAIL_SHARE = 0.05
SUPPORT = 2.5
"""n scores say nothing about what is rarer than n^-2.5 (without it the first hour saturates at 1e-8,
and its block maxima keep the threshold out of reach for days)."""

MIN_FOR_TAIL = 60
MIN_FOR_SHAPE = 20
SHAPE_PRIOR = 100
"""So many excesses are needed before the estimated shape counts half: few of them say little about it."""


class Reference:
    """A sliding set of at most ``capacity`` scores, and the p-value of a new one in it.

    ``p = (1 + #{score >= x}) / (n + 1)`` (conformal; Vovk et al., 2005). Above the 95 % quantile a
    generalised Pareto tail takes over, fitted by probability-weighted moments (Hosking and Wallis,
    1987) with its shape kept in [0, 0.5] and drawn towards 0, so that a far outlier is rarer than 1/n; but never below
    (n+1)^-2.5, nor below 1e-8: so little history supports no more.

    Ranks lag behind what was added by at most 1/64 of the set (sorting every time would cost more
    than all else). Once full, every ``thin``-th score is kept: 20,000 of them then span a day. With
    ``gradual`` (``thin`` a power of two) a full set drops every second score and from then on keeps half
    as many, until it keeps every ``thin``-th: it always spans all that it has been given so far.

    Each score may carry a tag in 0..255; with ``express`` the scores are ranked as that function gives
    them, and `refresh` ranks them all anew when the function has changed.

    >>> reference = Reference()
    >>> for score in range(1, 20):
    ...     reference.add(score)
    >>> reference.p(18.5), reference.p(100.0)
    (0.1, 0.05)
    """

    def __init__(
        self, *, capacity: int = 20_000, thin: int = 5, gradual: bool = False, express: Express | None = None
    ) -> None:
        if capacity < 1 or thin < 1 or (gradual and thin & (thin - 1)):
            raise ValueError(
                f"need capacity >= 1 and thin >= 1 (a power of two if gradual), got {capacity = }, {thin = }"
            )
        self._capacity = capacity
        self._thin = thin
        self._gradual = gradual
        self._express = express
        self._stride = 1
        self._ring = np.zeros(min(capacity, 256), np.float32)
        self._tags = np.zeros(0 if express is None else len(self._ring), np.uint8)
        """As long as the ring, or empty: untagged scores cost no room."""
        self._size = 0
        self._next = 0
        self._num_offered = 0
        self._num_pending = 0
        self._sorted = np.zeros(0, np.float32)
        self._fit_tail()

    def __len__(self) -> int:
        return self._size

    def p(self, score: float) -> float:
        """In [1e-8, 1]; 1.0 while nothing is known."""
        count = len(self._sorted)
        if count == 0:
            return 1.0
        excess = score - self._tail_start
        if excess <= 0.0 or self._tail_scale <= 0.0:
            below = int(np.searchsorted(self._sorted, np.float32(score), side="left"))
            return (1 + count - below) / (count + 1)
        kept = math.pow(1.0 + self._tail_shape * excess / self._tail_scale, -1.0 / self._tail_shape)
        return max(self._tail_share * kept, math.pow(count + 1, -SUPPORT), P_FLOOR)

    def surprise(self, score: float) -> float:
        """-log10 p below the 95 % quantile, and from there on along an exponential tail without end: a degree for
        what is ranked again, where `p` would stop at what so much history supports. 0.0 while nothing is known."""
        excess = score - self._tail_start
        if excess <= 0.0 or self._tail_scale <= 0.0:
            return -math.log10(self.p(score))
        return -math.log10(self._tail_share) + excess / (self._tail_scale * math.log(10.0))

    def deviation(self, score: float, least: float) -> float:
        """How far it is from the median, as a multiple of the way to the 95 % quantile, which is at least ``least``;
        0.0 while nothing is known."""
        count = len(self._sorted)
        if count == 0:
            return 0.0
        middle = float(self._sorted[count // 2])
        return (score - middle) / max(float(self._sorted[int(0.95 * count)]) - middle, least)

    def add(self, score: float, tag: int = 0) -> None:
        self._num_offered += 1
        if self._size == self._capacity and self._stride < self._thin:
            self._thin_out()
        if self._num_offered % self._stride == 0:
            self.insert(score, tag)

    def insert(self, score: float, tag: int = 0) -> None:
        """Take a score in that `add` might have left out."""
        if self._next == len(self._ring) and self._size < self._capacity:
            self._grow()
        self._ring[self._next] = score
        if self._express is not None:
            self._tags[self._next] = tag
        self._next = self._next + 1 if self._next + 1 < self._capacity else 0
        self._size = min(self._size + 1, self._capacity)
        self._num_pending += 1
        if 64 * self._num_pending >= self._size:
            self.refresh()

    def keep_newest(self, count: int) -> None:
        """Forget all but the newest ``count`` scores: the older ones were on another scale."""
        first = max(0, self._size - count)
        self._start(self._in_order(self._ring)[first:], self._in_order(self._tags)[first:])

    def replace(self, scores: Float32, tag: int = 0) -> None:
        """Start again from ``scores``, oldest first."""
        self._start(scores, np.full(len(scores), tag, np.uint8))

    def translate(self, offset: float, factor: float) -> None:
        """Every score becomes ``offset + factor * score``: their scale has changed."""
        self._ring[: self._size] *= np.float32(factor)
        self._ring[: self._size] += np.float32(offset)
        self.refresh()

    def refresh(self) -> None:
        """Rank what has been added since, and everything if what expresses it has changed."""
        scores = self._ring[: self._size]
        if self._express is not None:
            scores = self._express(scores, self._tags[: self._size])
        self._sorted = np.sort(scores)
        self._num_pending = 0
        self._fit_tail()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        counts = np.array([self._num_offered, self._num_pending, self._stride], np.int64)
        state = {"scores": self._in_order(self._ring), "sorted": self._sorted.copy(), "counts": counts}
        if self._express is not None:
            state["tags"] = self._in_order(self._tags)
        return state

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of a reference."""
        scores = np.asarray(state["scores"], np.float32)
        self._start(scores, np.asarray(state.get("tags", ()), np.uint8))
        self._num_offered, self._num_pending, self._stride = (int(count) for count in state["counts"])
        self._sorted = np.array(state["sorted"], np.float32)
        self._fit_tail()

    def _start(self, scores: Float32, tags: UInt8) -> None:
        kept, tags = scores[-self._capacity :], tags[-self._capacity :]
        self._size = len(kept)
        self._ring = np.zeros(min(self._capacity, max(256, 2 * len(kept))), np.float32)
        self._ring[: self._size] = kept
        if self._express is not None:
            self._tags = np.zeros(len(self._ring), np.uint8)
            self._tags[: self._size] = tags
        self._next = self._size if self._size < self._capacity else 0
        self.refresh()

    def _thin_out(self) -> None:
        if not self._gradual:
            self._stride = self._thin
            return
        self._stride *= 2
        self._start(self._in_order(self._ring)[1::2], self._in_order(self._tags)[1::2])

    def _in_order(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._size < self._capacity:
            return column[: self._size].copy()
        return np.concatenate([column[self._next :], column[: self._next]])

    def _grow(self) -> None:
        size = min(2 * len(self._ring), self._capacity)
        self._ring = np.concatenate([self._ring, np.zeros(size - len(self._ring), np.float32)])
        if self._express is not None:
            self._tags = np.concatenate([self._tags, np.zeros(size - len(self._tags), np.uint8)])

    def _fit_tail(self) -> None:
        self._tail_start, self._tail_scale, self._tail_shape, self._tail_share = math.inf, 0.0, 1.0, 1.0
        count = len(self._sorted)
        if count < MIN_FOR_TAIL:
            return
        num_above = int(TAIL_SHARE * count)
        start = float(self._sorted[count - num_above - 1])
        excess = self._sorted[count - num_above :].astype(np.float64) - start
        mean = float(excess.mean())
        shape = _pareto_shape(excess) if num_above >= MIN_FOR_SHAPE else 0.0
        # with a scale known from m excesses, the next one is Pareto of shape 1/m, not exponential
        shape = max(shape, 1.0 / num_above)
        # equal scores at the top leave no excess; a tenth of the upper half is then the least scale
        spread = start - float(self._sorted[count // 2])
        self._tail_start, self._tail_shape = start, shape
        self._tail_scale = max(mean * (1.0 - min(shape, 0.5)), 0.1 * spread)
        self._tail_share = (num_above + 1) / (count + 1)


def _pareto_shape(excess: npt.NDArray[np.float64]) -> float:
    """Shape of the generalised Pareto by probability-weighted moments, in [0, 0.5]; excess sorted upwards."""
    count = len(excess)
    first = float(excess.mean())
    second = float((excess * (1.0 - (np.arange(1, count + 1) - 0.35) / count)).mean())
    if first - 2.0 * second <= 1e-12:
        return 0.5 * count / (count + SHAPE_PRIOR)
    estimate = min(max(2.0 - first / (first - 2.0 * second), 0.0), 0.5)
    return estimate * count / (count + SHAPE_PRIOR)
