"""The coarse look at key frames that decides whether something came or left."""

from __future__ import annotations

import numpy as np

from mmstream.robust import in_light_of
from mmstream.types import Float32

GRID = (36, 64)
TOP_CELLS = 6
"""A quarter of a percent of the picture: the smallest thing that shall wake a feed."""


class Scene:
    """What the picture looks like when nothing happens, on a coarse grid, and how noisy each cell is.

    A cell's noise is the running median of its change from key to key: steps of a fixed ratio, up
    or down, so that something that moves less than half of the time does not count as noise. Along
    the upper and lower edge it is at least the root mean square: there cameras write the time, and a
    digit that changes once a minute must not wake anybody.
    """

    MIN_NOISE = 1.0
    BACKGROUND_RATE = 0.05
    FIRST_KEYS = 20
    CAPTION_ROWS = 4
    CAPTION_RATE = 0.02

    def __init__(self) -> None:
        self.num_keys = 0
        self._previous: Float32 | None = None
        self._background: Float32 | None = None
        self._median: Float32 = np.full(GRID, self.MIN_NOISE, np.float32)
        self._noise: Float32 = np.full(GRID, 2 * self.MIN_NOISE, np.float32)
        self._captions: Float32 = np.zeros((2 * self.CAPTION_ROWS, GRID[1]), np.float32)
        """Mean square change of the outermost rows."""

    def difference(self, small: Float32, reference: Float32) -> float:
        """Mean of the strongest cells' differences, in units of their own noise."""
        return self._strongest(np.abs(small - in_light_of(reference, small)))

    def score_key(self, small: Float32) -> float:
        """Against the key frame before and against the background, the smaller; then learn it.

        The first finds what came, and what left; the second leaves out what left.
        """
        previous, background = self._previous, self._background
        self._previous = small
        self.num_keys += 1
        if previous is None or background is None:
            self._background = small.copy()
            return 0.0
        change = np.abs(small - in_light_of(previous, small))
        background = in_light_of(background, small)
        away = small - background
        score = min(self._strongest(change), self._strongest(np.abs(away)))
        limit = 10 * self._noise
        self._background = background + self.BACKGROUND_RATE * np.clip(away, -limit, limit)
        self._learn_noise(change)
        return score

    def _learn_noise(self, change: Float32) -> None:
        rows = self.CAPTION_ROWS
        step = np.float32(1.1 if self.num_keys <= self.FIRST_KEYS else 1.02)
        self._median = np.clip(np.where(change > self._median, self._median * step, self._median / step), 0.25, 50)
        # 1.4826: from a median of sizes to the standard deviation of a Gaussian
        self._noise = np.maximum(np.float32(1.4826) * self._median, np.float32(self.MIN_NOISE))
        edges = np.concatenate([change[:rows], change[-rows:]])
        self._captions += max(self.CAPTION_RATE, 1.0 / self.num_keys) * (edges**2 - self._captions)
        self._noise[:rows] = np.maximum(self._noise[:rows], np.sqrt(self._captions[:rows]))
        self._noise[-rows:] = np.maximum(self._noise[-rows:], np.sqrt(self._captions[rows:]))

    def _strongest(self, change: Float32) -> float:
        scaled = (change / self._noise).ravel()
        return float(np.partition(scaled, -TOP_CELLS)[-TOP_CELLS:].mean())
