"""How rare a raw score is among this feed's own: ranks, and a tail beyond the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32

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
    than all else). Once full, every ``thin``-th score is kept: 20,000 of them then span a day.

    >>> reference = Reference()
    >>> for score in range(1, 20):
    ...     reference.add(score)
    >>> reference.p(18.5), reference.p(100.0)
    (0.1, 0.05)
    """

    def __init__(self, *, capacity: int = 20_000, thin: int = 5) -> None:
        if capacity < 1 or thin < 1:
            raise ValueError(f"need capacity >= 1 and thin >= 1, got {capacity = }, {thin = }")
        self._capacity = capacity
        self._thin = thin
        self._ring = np.zeros(min(capacity, 256), np.float32)
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

    def add(self, score: float) -> None:
        self._num_offered += 1
        if self._size == self._capacity and self._num_offered % self._thin:
            return
        if self._next == len(self._ring) and self._size < self._capacity:
            self._grow()
        self._ring[self._next] = score
        self._next = self._next + 1 if self._next + 1 < self._capacity else 0
        self._size = min(self._size + 1, self._capacity)
        self._num_pending += 1
        if 64 * self._num_pending >= self._size:
            self._sort()

    def keep_newest(self, count: int) -> None:
        """Forget all but the newest ``count`` scores: the older ones were on another scale."""
        newest = self._in_order()[max(0, self._size - count) :]
        self.replace(newest)

    def replace(self, scores: Float32) -> None:
        """Start again from ``scores``, oldest first."""
        kept = scores[-self._capacity :]
        self._ring = np.zeros(min(self._capacity, max(256, 2 * len(kept))), np.float32)
        self._ring[: len(kept)] = kept
        self._size = len(kept)
        self._next = self._size if self._size < self._capacity else 0
        self._sort()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        counts = np.array([self._num_offered, self._num_pending], np.int64)
        return {"scores": self._in_order(), "sorted": self._sorted.copy(), "counts": counts}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of a reference."""
        self.replace(np.asarray(state["scores"], np.float32))
        self._num_offered, self._num_pending = (int(count) for count in state["counts"])
        self._sorted = np.array(state["sorted"], np.float32)
        self._fit_tail()

    def _in_order(self) -> Float32:
        if self._size < self._capacity:
            return self._ring[: self._size].copy()
        return np.concatenate([self._ring[self._next :], self._ring[: self._next]])

    def _grow(self) -> None:
        grown = np.zeros(min(2 * len(self._ring), self._capacity), np.float32)
        grown[: len(self._ring)] = self._ring
        self._ring = grown

    def _sort(self) -> None:
        self._sorted = np.sort(self._ring[: self._size])
        self._num_pending = 0
        self._fit_tail()

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
