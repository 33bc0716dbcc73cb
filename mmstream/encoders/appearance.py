"""What the scene looks like: a tiny picture, in units in which a passing cloud changes little."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from mmstream.downscale import area_reduced
from mmstream.robust import quartiles
from mmstream.types import Channel, Embedding, Float32, Float64, Frame, UInt8, Window

GRID = (9, 16)
MAX_FRAMES = 5
MIN_CONTRAST = 8.0
"""Levels: a black or fogged picture must not have its noise blown up to a scene."""


class AppearanceEncoder:
    """Finds "the picture was replaced", "the lights went out", "something large is there".

    Median over up to five frames spread over the window, so that what only passes leaves no trace.
    The vector (148,), row by row:

    - 0..143: luma of 9 x 16 cells, minus the picture's median, over its contrast (interquartile
      range / 1.349, at least 8 levels). A change of light leaves them; darkness sends all to 0.
    - 144: the median luma over 16 levels; 145: log2 of the contrast;
    - 146, 147: mean U and V, minus 128, over 4 levels.

    Every number is of order 1, and a change of 0.1 to 0.2 in one is what can just be seen, so that a
    bank which divides each by its own spread neither drowns nor favours any of them.
    """

    channel: ClassVar[Channel] = Channel(name="appearance", modality="picture", normality="bank", density=True)

    def __init__(self) -> None:
        self.model = "thumbnail@1"
        self.dim = GRID[0] * GRID[1] + 4
        self._known: dict[int, tuple[UInt8, Float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is known: it goes by the identity of arrays, which another process has not."""
        return {**self.__dict__, "_known": {}}

    def encode(self, window: Window) -> Embedding | None:
        """None without frames."""
        frames = spread_out(window.frames, MAX_FRAMES)
        if not frames:
            return None
        rows = np.empty((len(frames), 2 + GRID[0] * GRID[1]))
        rows[:, :2] = [frame.chroma for frame in frames]
        rows[:, 2:] = self._recall(frames)
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=self._describe(rows),
            model=self.model,
        )

    def _recall(self, frames: list[Frame]) -> list[Float32]:
        """The cells of each frame; a frame lies in two windows and is reduced once.

        The pictures are kept with their cells, so that no other can have their identity.
        """
        known: dict[int, tuple[UInt8, Float32]] = {}
        for frame in frames:
            key = id(frame.luma)
            known[key] = self._known.get(key) or (frame.luma, area_reduced(frame.luma, *GRID).ravel())
        self._known = known
        return [known[id(frame.luma)][1] for frame in frames]

    def _describe(self, rows: Float64) -> Float32:
        """(frames, 2 + cells), U and V first -> the vector."""
        rows.sort(axis=0)
        middle_row = 0.5 * (rows[(len(rows) - 1) // 2] + rows[len(rows) // 2])
        cells = middle_row[2:]
        low, middle, high = quartiles(cells)
        contrast = max((high - low) / 1.349, MIN_CONTRAST)
        vector = np.empty(self.dim, np.float32)
        vector[:-4] = (cells - middle) / contrast
        vector[-4:-2] = middle / 16.0, math.log2(contrast)
        vector[-2:] = (middle_row[:2] - 128.0) / 4.0
        return vector


def spread_out(frames: tuple[Frame, ...], count: int) -> list[Frame]:
    """At most ``count`` frames, evenly spread, the first and the last among them."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(number)] for number in np.linspace(0, len(frames) - 1, count)]
