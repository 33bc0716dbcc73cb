"""Against what background a moment is judged, and whether that background has been heard for long enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32

CAPACITY = 480
EVERY_S, MAX_EVERY_S = 60.0, 480.0
"""One sample of the background so often; when there is no room, every second one goes and half as many
are taken from then on: at the most they span two and a half days."""

KNOWN_AFTER_S = 3600.0
"""A background is known once one like it has been heard for so long ..."""

MIN_LIKE, MIN_SAMPLES = 5, 10
"""... that is, in at least so many samples. With fewer samples than ten minutes' nothing can be told."""

LIMIT = 2.0
"""Like it: no farther than so many times what is usual between samples (measured on composed streets: 98 % of
the seconds of a known background are within it, and of one never heard before less than 1 %)."""

_REFRESH_EVERY = 8


class Backgrounds:
    """Points (k,), each standing for what was usual over a minute or so, sampled over days.

    How new a background is: the distance to its n-th nearest sample over the median of the same distance among
    the samples, n samples being `KNOWN_AFTER_S` (half of all samples while there are few).
    """

    def __init__(self, *, dim: int) -> None:
        self._points = np.zeros((CAPACITY, dim), np.float32)
        self._size = 0
        self._every_s = EVERY_S
        self._taken_s = -np.inf
        self._usual = 0.0
        self._num_taken = 0

    def __len__(self) -> int:
        return self._size

    @property
    def points(self) -> Float32:
        """(n, k) the samples, oldest first."""
        return self._points[: self._size]

    def newness(self, point: Float32) -> float:
        """1.0 = as usual; above `LIMIT` the background is new. 0.0 while nothing can be told."""
        if self._size < MIN_SAMPLES or self._usual <= 0.0:
            return 0.0
        distances = np.linalg.norm(self.points - point, axis=1)
        return float(np.partition(distances, self._num_like - 1)[self._num_like - 1]) / self._usual

    def learn(self, point: Float32, at_s: float) -> None:
        if abs(at_s - self._taken_s) < self._every_s:
            return
        self._taken_s = at_s
        if self._size == CAPACITY:
            self._make_room()
        self._points[self._size] = point
        self._size += 1
        self._num_taken += 1
        if self._num_taken % _REFRESH_EVERY == 0 or self._size <= MIN_SAMPLES:
            self._refresh()

    def replace_points(self, points: Float32) -> None:
        """The same samples in other coordinates."""
        self._points[: self._size] = points
        self._refresh()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        numbers = np.array([self._every_s, self._taken_s, self._usual], np.float64)
        return {"points": self.points.copy(), "numbers": numbers, "taken": np.array(self._num_taken)}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of such backgrounds."""
        self._size = len(state["points"])
        self._points[: self._size] = state["points"]
        self._every_s, self._taken_s, self._usual = (float(number) for number in state["numbers"])
        self._num_taken = int(state["taken"])

    @property
    def _num_like(self) -> int:
        wanted = max(MIN_LIKE, round(KNOWN_AFTER_S / self._every_s))
        return max(1, min(wanted, self._size // 2))

    def _make_room(self) -> None:
        if self._every_s < MAX_EVERY_S:
            self._every_s *= 2.0
            kept = self._points[1 : self._size : 2].copy()
        else:
            kept = self._points[1 : self._size].copy()
        self._size = len(kept)
        self._points[: self._size] = kept

    def _refresh(self) -> None:
        if self._size < MIN_SAMPLES:
            return
        points = self.points.astype(np.float64)
        norms = np.square(points).sum(axis=1)
        squared = np.maximum(norms[:, None] + norms - 2.0 * points @ points.T, 0.0)
        # every sample is its own nearest one
        likes = np.partition(squared, self._num_like, axis=1)[:, self._num_like]
        self._usual = max(float(np.sqrt(np.median(likes))), 1e-6)
