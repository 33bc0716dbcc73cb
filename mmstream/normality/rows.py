"""A bounded table of remembered points, and exact search in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32, Float64

HALF_LIFE_S = 7 * 86_400.0
_CHUNK = 128
_COLUMNS = ("points", "norms", "local", "weights", "seen_s", "copies")


class Rows:
    """At most ``capacity`` points (n, D) with, for each, its squared length, its local distance (mean
    distance to its ``k`` nearest others), how often and when it was seen, and for how many neighbours
    it counts. ``floor`` is the median local distance: the least one that is ever divided by.

    A row that counts several times was called normal though it lies alone: its local distance is how far it
    reaches, and what is that near to it is as usual as one ordinary row next to another.

    ``carried``: so many numbers of half precision go with each row, from which its point can be made anew."""

    def __init__(self, *, capacity: int, dim: int, k: int, carried: int = 0) -> None:
        self.capacity = capacity
        self.k = k
        self.size = 0
        self.floor = 1e-3
        self.points = np.zeros((capacity, dim), np.float32)
        self.norms = np.zeros(capacity, np.float32)
        self.local = np.zeros(capacity, np.float32)
        self.weights = np.zeros(capacity, np.float32)
        self.seen_s = np.zeros(capacity, np.float64)
        self.copies = np.ones(capacity, np.uint8)
        self.carried = np.zeros((capacity, carried), np.float16)
        self._columns = (*_COLUMNS, "carried") if carried else _COLUMNS
        self._has_copies = False

    def neighbours(self, point: Float32, count: int) -> tuple[Float32, npt.NDArray[np.intp]]:
        """-> (distances, rows), nearest first, at most ``count``; a row once, however many it counts for."""
        size = self.size
        count = min(count, size)
        squared = self._products(point)
        squared *= -2.0
        squared += self.norms[:size]
        which = np.argpartition(squared, count - 1)[:count] if size > count else np.arange(size)
        which = which[np.argsort(squared[which])]
        nearest: Float32 = np.sqrt(np.maximum(squared[which] + point @ point, 0.0))
        return nearest, which

    def distance(self, point: Float32) -> tuple[float, float]:
        """-> (mean distance to the ``k`` nearest, mean local distance of those, at least ``floor``)."""
        nearest, which = self.neighbours(point, self.k)
        local = self.local[which]
        if self._has_copies:
            nearest, local = self._as_copies(nearest, local, self.copies[which])
        return float(nearest.mean()), max(float(local.mean()), self.floor)

    def reach(self, point: Float32) -> float:
        """Half the distance to the nearest row that counts once, at least ``floor``."""
        once = self.copies[: self.size] == 1
        squared = self.norms[: self.size] - 2.0 * self._products(point) + point @ point
        nearest = float(np.min(squared, initial=np.inf, where=once))
        return max(0.5 * float(np.sqrt(max(nearest, 0.0))), self.floor) if np.isfinite(nearest) else self.floor

    def own_distances(self, which: npt.NDArray[np.intp], apart_s: float) -> tuple[Float64, Float64]:
        """What `distance` would say of some rows against those seen more than ``apart_s`` away from them;
        infinite where there are too few."""
        size = self.size
        distances = self._distances(which)
        distances[np.abs(self.seen_s[which, None] - self.seen_s[:size]) < apart_s] = np.inf
        k = min(self.k, size)
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        means: Float64 = np.take_along_axis(distances, nearest, axis=1).mean(axis=1)
        local: Float64 = np.maximum(self.local[nearest].mean(axis=1), self.floor).astype(np.float64)
        return means, local

    def insert(
        self, point: Float32, *, local: float, at_s: float, copies: int = 1, carried: Float32 | None = None
    ) -> bool:
        """Take a point in; True when that displaced the row of least ``weight * 2^(-age / 7 d)``."""
        displaced = self.size == self.capacity
        if displaced:
            age_s = np.maximum(at_s - self.seen_s, 0.0)
            slot = int(np.argmin(self.weights * np.exp2(-age_s / HALF_LIFE_S)))
        else:
            slot = self.size
            self.size += 1
        self.points[slot] = point
        if carried is not None:
            self.carried[slot] = carried
        self.norms[slot] = point @ point
        self.local[slot] = local
        self.weights[slot] = copies
        self.copies[slot] = copies
        self.seen_s[slot] = at_s
        self._has_copies = self._has_copies or copies > 1
        return displaced

    def keep(self, which: npt.NDArray[np.intp]) -> None:
        """Forget all other rows."""
        for name in self._columns:
            column = getattr(self, name)
            column[: len(which)] = column[which]
        self.size = len(which)

    def replace_points(self, points: Float32) -> None:
        """The same rows in other coordinates; `refresh` measures them again."""
        self.points[: self.size] = points
        self.norms[: self.size] = np.einsum("ij,ij->i", points, points)

    def refresh(self) -> float:
        """Measure every row's local distance again -> the median distance to the nearest other row."""
        size = self.size
        k = min(self.k, size - 1)
        if k < 1:
            return 0.0
        nearest = np.empty(size)
        several = self.copies[:size] > 1
        reaches = self.local[:size][several] / np.float32(self.floor)
        for start in range(0, size, _CHUNK):
            which = np.arange(start, min(start + _CHUNK, size))
            distances = self._distances(which)
            distances[np.arange(len(which)), which] = np.inf
            closest = np.partition(distances, k - 1, axis=1)[:, :k]
            nearest[which] = closest.min(axis=1)
            self.local[which] = closest.mean(axis=1)
        self.floor = max(float(np.median(self.local[:size])), 1e-3)
        self.local[:size][several] = reaches * np.float32(self.floor)
        return float(np.median(nearest))

    def merge(self, count: int) -> None:
        """Keep ``count`` rows that lie as far apart as can be (greedy k-center; Gonzalez 1985), together with
        all that count several times; the weight of the others goes to the nearest one kept."""
        size = self.size
        kept = [int(row) for row in np.flatnonzero(self.copies[:size] > 1)] or [int(np.argmax(self.weights[:size]))]
        far = np.full(size, np.inf)
        owner = np.zeros(size, np.intp)
        for number in range(max(count, len(kept))):
            if number == len(kept):
                kept.append(int(np.argmax(far)))
            chosen = kept[number]
            distances = self.norms[:size] - 2.0 * self._products(self.points[chosen]) + self.norms[chosen]
            closer = distances < far
            far[closer], owner[closer] = distances[closer], number
            far[chosen], owner[chosen] = -np.inf, number
        weights = np.bincount(owner, weights=self.weights[:size], minlength=len(kept))
        order = np.argsort(kept)
        self.keep(np.array(kept)[order])
        self.weights[: self.size] = weights[order]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name)[: self.size] for name in self._columns} | {"floor": np.array(self.floor)}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Of more than there is room for those of the greatest weight.

        Raises:
            KeyError, ValueError: the arrays are not those of such rows.
        """
        kept = np.sort(np.argsort(-state["weights"], kind="stable")[: self.capacity])
        self.size = len(kept)
        for name in self._columns:
            getattr(self, name)[: self.size] = state[name][kept]
        self.floor = float(state["floor"])
        self._has_copies = bool((self.copies[: self.size] > 1).any())

    def _products(self, point: Float32) -> Float32:
        with np.errstate(invalid="ignore"):  # OpenBLAS reads past short rows; what lies there may be no number
            products: Float32 = self.points[: self.size] @ point
        return products

    def _as_copies(self, nearest: Float32, local: Float32, copies: npt.NDArray[np.uint8]) -> tuple[Float32, Float32]:
        """The ``k`` nearest distances and their local ones, when some rows count several times."""
        floor = np.float32(self.floor)
        nearest = np.where(copies > 1, nearest * floor / np.maximum(local, floor), nearest)
        local = np.where(copies > 1, floor, local)
        order = np.repeat(np.argsort(nearest), copies[np.argsort(nearest)])[: self.k]
        return nearest[order], local[order]

    def _distances(self, which: npt.NDArray[np.intp]) -> Float64:
        """(len(which), n) distances of some rows to all."""
        size = self.size
        with np.errstate(invalid="ignore"):
            products = self.points[which] @ self.points[:size].T
        squared = self.norms[which, None] + self.norms[:size] - 2.0 * products
        return np.sqrt(np.maximum(squared, 0.0)).astype(np.float64)
