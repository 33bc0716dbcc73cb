"""Windows of several things: a bank of things seen, and how strange the strangest of a window is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32

PARTS = 32
"""Parts of a vector; one that cannot be divided by it is a single part."""
PLACED = 3
"""Numbers of a part before those that say what it is: moment, x, y."""
ROW_WEIGHT = 2.0
"""The picture's height counts like so much: things far away look and move otherwise."""
NEAR = 0.08
"""Parts of a moment so near each other, as shares of the picture, are one thing: their mean counts."""
MAX_BYTES = 640 * 1024
MAX_ROWS = 2048
LEARNED_PER_WINDOW = 4
FIRST = 64
"""Parts known before anything is judged."""

HALF_LIFE_S = 7 * 86_400.0
TURNOVER_S = 86_400.0
"""A full bank renews itself no faster than once in so long: it must remember last night at noon."""

_CHECK_EVERY = 64
_CHUNK = 256


class Parts:
    """Distance of every part of a window to the nearest parts remembered; the strangest place counts.

    A part is [moment, x, y, what it is ...]; moment 0 = no part. Distances are Euclidean over what
    it is and twice y, as they come: the encoder gives numbers that can be compared. Per part the mean
    distance to the 3 nearest; with ``density`` over the mean of that same distance of those three
    (Breunig et al., 2000), floored at the bank's median. Parts near each other at one moment are averaged, the
    largest is the moment's, and the mean over the upper half of the moments is the window's.

    A part within half the bank's median nearest distance of a row adds to that row's weight; a full bank
    forgets the row of least ``weight * 2^(-age / 7 d)``, and that radius grows until it renews itself at
    most once a day. At most 4 parts of a window are learned, in turn over its moments; bounded by 640 KiB.
    """

    num_rescaled = 0
    """Numbers are compared as they come: scores keep their meaning."""

    def __init__(self, *, dim: int, density: bool = True, k: int = 3) -> None:
        if dim < 1 or k < 1:
            raise ValueError(f"need dim >= 1 and k >= 1, got {dim = }, {k = }")
        self._num_parts = PARTS if dim % PARTS == 0 else 1
        self._width = dim // self._num_parts
        size = max(self._width - PLACED, 0) + 1 if self._width > PLACED else self._width
        capacity = min(MAX_ROWS, max(FIRST, MAX_BYTES // (4 * size + 24)))
        self._density = density
        self._k = k
        self._rows = np.zeros((capacity, size), np.float32)
        self._norms, self._local, self._weights = (np.zeros(capacity, np.float32) for _ in range(3))
        self._seen_s = np.zeros(capacity, np.float64)
        self._size = self._learned = self._num_inserted = 0
        self._refreshed = 0
        self._floor, self._radius, self._checked_s = 1e-3, 0.0, 0.0

    @property
    def num_rows(self) -> int:
        return self._size

    def __len__(self) -> int:
        """How many windows have been learned."""
        return self._learned

    def score(self, vector: Float32) -> float:
        """0.0 while fewer than 64 parts are known, and where nothing is there."""
        parts = self._present(vector)
        if self._size < FIRST or not len(parts):
            return 0.0
        strange = self._strange(self._points(parts))
        moments = [_strongest(parts[at], strange[at]) for at in (parts[:, 0] == m for m in np.unique(parts[:, 0]))]
        moments.sort()
        upper = moments[len(moments) // 2 :]
        return float(sum(upper) / len(upper))

    def learn(self, vector: Float32, at_s: float) -> None:
        self._learned += 1
        parts = self._present(vector)
        if not len(parts):
            return
        points = self._points(parts[:: -(-len(parts) // LEARNED_PER_WINDOW)])
        for point in points:
            self._learn_point(point, at_s)
        if self._size >= max(FIRST, 2 * self._refreshed):
            self._refresh()

    def self_scores(self) -> Float32:
        return np.zeros(0, np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        size = self._size
        state: dict[str, npt.NDArray[Any]] = {
            "rows": self._rows[:size],
            "norms": self._norms[:size],
            "local": self._local[:size],
            "weights": self._weights[:size],
            "seen_s": self._seen_s[:size],
            "numbers": np.array([self._floor, self._radius, self._checked_s], np.float64),
            "counts": np.array([self._learned, self._num_inserted, self._refreshed], np.int64),
        }
        return {name: array.copy() for name, array in state.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of such a bank."""
        self._size = size = len(state["rows"])
        self._rows[:size], self._local[:size] = state["rows"], state["local"]
        self._weights[:size], self._seen_s[:size] = state["weights"], state["seen_s"]
        self._norms[:size] = state["norms"]  # not computed anew: other sums round otherwise
        self._floor, self._radius, self._checked_s = (float(number) for number in state["numbers"])
        self._learned, self._num_inserted, self._refreshed = (int(count) for count in state["counts"])

    def _present(self, vector: Float32) -> Float32:
        parts = vector.reshape(self._num_parts, self._width)
        return parts[parts[:, 0] > 0.0] if self._num_parts > 1 else parts

    def _points(self, parts: Float32) -> Float32:
        """(n, width) -> (n, size): what is compared, cut so that distances stay finite."""
        points = parts if self._width <= PLACED else parts[:, PLACED - 1 :].copy()
        if self._width > PLACED:
            points[:, 0] *= ROW_WEIGHT
        return np.clip(points, -1e6, 1e6)

    def _strange(self, points: Float32) -> Float32:
        nearest, which = self._neighbours(points)
        distance: Float32 = nearest.mean(axis=1)
        return distance / np.maximum(self._local[which].mean(axis=1), self._floor) if self._density else distance

    def _neighbours(self, points: Float32, *, skip_from: int = -1) -> tuple[Float32, npt.NDArray[np.intp]]:
        """The k nearest rows of every point, in no order; from ``skip_from`` on the points are rows themselves."""
        size = self._size
        squared = points @ self._rows[:size].T
        squared *= -2.0
        squared += self._norms[:size]
        if skip_from >= 0:
            squared[np.arange(len(points)), np.arange(skip_from, skip_from + len(points))] = np.inf
        which = np.argpartition(squared, self._k - 1, axis=1)[:, : self._k]
        found = np.take_along_axis(squared, which, axis=1) + np.einsum("ij,ij->i", points, points)[:, None]
        return np.sqrt(np.maximum(found, 0.0)), which

    def _learn_point(self, point: Float32, at_s: float) -> None:
        local = 0.0
        if self._size >= FIRST:
            found, rows = self._neighbours(point[None])
            nearest = int(found[0].argmin())
            if found[0, nearest] <= self._radius:
                row = rows[0, nearest]
                self._weights[row] += 1
                self._seen_s[row] = max(at_s, self._seen_s[row])
                return
            local = float(found.mean())
        slot = self._free_slot(at_s)
        self._rows[slot], self._norms[slot] = point, point @ point
        self._local[slot], self._weights[slot], self._seen_s[slot] = local, 1.0, at_s

    def _free_slot(self, at_s: float) -> int:
        if self._size < len(self._rows):
            self._size += 1
            return self._size - 1
        age_s = np.maximum(at_s - self._seen_s, 0.0)
        self._num_inserted += 1
        if self._num_inserted % _CHECK_EVERY == 0:
            if at_s - self._checked_s < TURNOVER_S * _CHECK_EVERY / len(self._rows):
                self._radius = max(1.1 * self._radius, 0.1 * self._floor)
            self._checked_s = at_s
        if self._num_inserted % (len(self._rows) // 2) == 0:
            self._refresh()
        return int(np.argmin(self._weights * np.exp2(-age_s / HALF_LIFE_S)))

    def _refresh(self) -> None:
        """Measure every row's distance to its nearest others again, and what counts as the same."""
        size = self._size
        closest = np.empty(size, np.float32)
        for start in range(0, size, _CHUNK):
            found, _ = self._neighbours(self._rows[start : min(start + _CHUNK, size)], skip_from=start)
            self._local[start : start + len(found)] = found.mean(axis=1)
            closest[start : start + len(found)] = found.min(axis=1)
        self._floor = max(float(np.median(self._local[:size])), 1e-3)
        self._radius = max(self._radius, 0.5 * float(np.median(closest)))
        self._refreshed = size


def _strongest(parts: Float32, strange: Float32) -> float:
    """The largest mean over the parts near one of them."""
    if parts.shape[1] <= PLACED:
        return float(strange.max())
    places = parts[:, 1:PLACED]
    near = np.abs(places[:, None] - places[None]).max(axis=2) <= NEAR
    return float((near @ strange / near.sum(axis=1)).max())
