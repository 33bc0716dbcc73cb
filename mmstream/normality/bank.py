"""Remembered vectors, and how far a new one is from its nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.gaussian import Gaussian
from mmstream.normality.scaling import Scaling
from mmstream.types import Float32, Float64

FIRST = 64
"""Windows judged by the `Gaussian`; then the bank starts with them."""

MAX_BYTES = 768 * 1024
"""Wide vectors get fewer rows, so that all channels of a feed stay within 4 MiB."""

APART_S = 10.0
"""Rows closer in time than this show the same moment and say nothing about how rare it is."""

HALF_LIFE_S = 7 * 86_400.0
TURNOVER_S = 86_400.0
"""A full bank renews itself no faster than once in so long: it must remember last night at noon."""

_CHECK_EVERY = 64
_CHUNK = 128


class Bank:
    """Mean distance to the ``k`` nearest of at most ``max_rows`` remembered vectors, exactly.

    Dimensions are brought to one scale, refitted whenever the number of learned windows has
    doubled (`num_rescaled` counts: scores before and after are not comparable). With ``density``
    the distance is divided by the mean of the same distance of those neighbours, as in LOF
    (Breunig et al., 2000), floored at the bank's median so that many copies of one moment do not
    make everything near them look far. A vector within the dedup radius of a row adds to that
    row's weight; a full bank forgets the row of least ``weight * 2^(-age / 7 d)``, and its radius
    grows until it renews itself at most once a day.
    """

    def __init__(self, *, dim: int, density: bool = True, max_rows: int = 2048, k: int = 5) -> None:
        if dim < 1 or k < 1 or max_rows < FIRST:
            raise ValueError(f"need dim >= 1, k >= 1, max_rows >= {FIRST}, got {dim = }, {k = }, {max_rows = }")
        capacity = min(max_rows, max(FIRST, MAX_BYTES // (4 * dim)))
        self._density = density
        self._k = k
        self._first: Gaussian | None = Gaussian(dim=dim, capacity=FIRST)
        self._scaling = Scaling(mean=np.zeros(dim, np.float32), std=np.ones(dim, np.float32))
        self._rows = np.zeros((capacity, dim), np.float32)
        self._norms = np.zeros(capacity, np.float32)
        self._local = np.zeros(capacity, np.float32)
        self._weights = np.zeros(capacity, np.float32)
        self._seen_s = np.zeros(capacity, np.float64)
        self._size = 0
        self._learned = 0
        self._floor = 1e-3
        self._radius = 0.0
        self._num_inserted = 0
        self._checked_s = 0.0
        self.num_rescaled = 0

    @property
    def num_rows(self) -> int:
        return self._size

    def __len__(self) -> int:
        return self._learned

    def score(self, vector: Float32) -> float:
        """Larger is more unlike the past; 0.0 while fewer than 8 vectors are known."""
        if self._first is not None:
            return self._first.score(vector)
        nearest, which = self._neighbours(self._scaling.apply(vector))
        distance = float(nearest.mean())
        return distance / max(float(self._local[which].mean()), self._floor) if self._density else distance

    def learn(self, vector: Float32, at_s: float) -> None:
        self._learned += 1
        if self._first is not None:
            self._seen_s[self._learned - 1] = at_s
            self._first.learn(vector, at_s)
            if self._learned == FIRST:
                self._start(self._first.rows, at_s)
            return
        point = self._scaling.apply(vector)
        nearest, which = self._neighbours(point)
        if nearest[0] <= self._radius:
            self._weights[which[0]] += 1
            self._seen_s[which[0]] = max(at_s, self._seen_s[which[0]])
        else:
            self._insert(point, float(nearest.mean()), at_s)
        if self._learned & (self._learned - 1) == 0:
            self._rescale()

    def self_scores(self) -> Float32:
        """(n,) what each row would have scored against the rows more than `APART_S` away from it.

        For a bank that has just started: its history of scores until it has made its own.
        """
        size = self._size
        if size == 0:
            return np.zeros(0, np.float32)
        distances = self._distances(0, size)
        distances[np.abs(self._seen_s[:size, None] - self._seen_s[:size]) < APART_S] = np.inf
        k = min(self._k, size)
        which = np.argpartition(distances, k - 1, axis=1)[:, :k]
        nearest = np.take_along_axis(distances, which, axis=1).mean(axis=1)
        scale = np.maximum(self._local[which].mean(axis=1), self._floor) if self._density else np.float32(1.0)
        scores = (nearest / scale).astype(np.float32)
        finite: Float32 = scores[np.isfinite(scores)]
        return finite

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as arrays that `load` of a bank of the same shape takes back exactly."""
        size = self._size
        state: dict[str, npt.NDArray[Any]] = {
            "rows": self._rows[:size],
            "norms": self._norms[:size],
            "local": self._local[:size],
            "weights": self._weights[:size],
            "seen_s": self._seen_s[: max(size, self._learned if self._first is not None else 0)],
            "mean": self._scaling.mean,
            "std": self._scaling.std,
            "numbers": np.array([self._floor, self._radius, self._checked_s], np.float64),
            "counts": np.array([self._learned, self._num_inserted, self.num_rescaled], np.int64),
        }
        if self._first is not None:
            state["first"] = self._first.state()
        return {name: array.copy() for name, array in state.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of a bank of this shape."""
        self._size = size = len(state["rows"])
        self._rows[:size] = state["rows"]
        self._norms[:size], self._local[:size] = state["norms"], state["local"]
        self._weights[:size] = state["weights"]
        self._seen_s[: len(state["seen_s"])] = state["seen_s"]
        self._scaling = Scaling(mean=state["mean"], std=state["std"])
        self._floor, self._radius, self._checked_s = (float(number) for number in state["numbers"])
        self._learned, self._num_inserted, self.num_rescaled = (int(count) for count in state["counts"])
        if "first" in state and self._first is not None:
            self._first.load(state["first"])
        else:
            self._first = None

    def _neighbours(self, point: Float32) -> tuple[Float32, npt.NDArray[np.intp]]:
        size = self._size
        k = min(self._k, size)
        squared = self._rows[:size] @ point
        squared *= -2.0
        squared += self._norms[:size]
        which = np.argpartition(squared, k - 1)[:k] if size > k else np.arange(size)
        which = which[np.argsort(squared[which])]
        nearest: Float32 = np.sqrt(np.maximum(squared[which] + point @ point, 0.0))
        return nearest, which

    def _distances(self, start: int, stop: int) -> Float64:
        """(stop - start, n) distances of some rows to all."""
        size = self._size
        squared = (
            self._norms[start:stop, None] + self._norms[:size] - 2.0 * self._rows[start:stop] @ self._rows[:size].T
        )
        return np.sqrt(np.maximum(squared, 0.0)).astype(np.float64)

    def _insert(self, point: Float32, local: float, at_s: float) -> None:
        if self._size < len(self._rows):
            slot = self._size
            self._size += 1
        else:
            age_s = np.maximum(at_s - self._seen_s, 0.0)
            slot = int(np.argmin(self._weights * np.exp2(-age_s / HALF_LIFE_S)))
            self._slow_down(at_s)
        self._rows[slot] = point
        self._norms[slot] = point @ point
        self._local[slot] = local
        self._weights[slot] = 1.0
        self._seen_s[slot] = at_s

    def _slow_down(self, at_s: float) -> None:
        """Widen the radius while a full bank takes in more than its size per `TURNOVER_S`."""
        self._num_inserted += 1
        if self._num_inserted % _CHECK_EVERY == 0:
            fair_s = TURNOVER_S * _CHECK_EVERY / len(self._rows)
            if at_s - self._checked_s < fair_s:
                self._radius = max(1.1 * self._radius, 0.1 * self._floor)
            self._checked_s = at_s
        if self._num_inserted % (len(self._rows) // 2) == 0:
            self._refresh()

    def _start(self, rows: Float32, at_s: float) -> None:
        self._first = None
        self._rows[: len(rows)] = rows
        self._weights[: len(rows)] = 1.0
        self._size, self._checked_s = len(rows), at_s
        self._rescale()

    def _rescale(self) -> None:
        size = self._size
        raw = self._scaling.undo(self._rows[:size])
        before = self._scaling
        self._scaling = Scaling.of(raw)
        self._rows[:size] = self._scaling.apply(raw)
        self._norms[:size] = np.einsum("ij,ij->i", self._rows[:size], self._rows[:size])
        if self.num_rescaled:
            self._radius *= float(np.median(before.std / self._scaling.std))
        nearest = self._refresh()
        self._radius = max(self._radius, 0.25 * nearest)
        self.num_rescaled += 1

    def _refresh(self) -> float:
        """Measure every row's local distance again -> the median distance to the nearest other row."""
        size = self._size
        k = min(self._k, size - 1)
        if k < 1:
            return 0.0
        nearest = np.empty(size)
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            distances = self._distances(start, stop)
            distances[np.arange(stop - start), np.arange(start, stop)] = np.inf
            closest = np.partition(distances, k - 1, axis=1)[:, :k]
            nearest[start:stop] = closest.min(axis=1)
            self._local[start:stop] = closest.mean(axis=1)
        self._floor = max(float(np.median(self._local[:size])), 1e-3)
        return float(np.median(nearest))
