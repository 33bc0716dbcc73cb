"""What the scene looks like: a tiny picture, in units in which a passing cloud changes little."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmstream.gate import area_reduced
from mmstream.types import Channel, Embedding, Frame, Window

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

    def encode(self, window: Window) -> Embedding | None:
        """None without frames."""
        frames = spread_out(window.frames, MAX_FRAMES)
        if not frames:
            return None
        cells = np.median([area_reduced(frame.luma, *GRID) for frame in frames], axis=0).ravel()
        chroma = np.median([frame.chroma for frame in frames], axis=0)
        low, middle, high = np.percentile(cells, (25, 50, 75))
        contrast = max((high - low) / 1.349, MIN_CONTRAST)
        vector = np.empty(self.dim, np.float32)
        vector[:-4] = (cells - middle) / contrast
        vector[-4:-2] = middle / 16.0, np.log2(contrast)
        vector[-2:] = (chroma - 128.0) / 4.0
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=vector,
            model=self.model,
        )


def spread_out(frames: tuple[Frame, ...], count: int) -> list[Frame]:
    """At most ``count`` frames, evenly spread, the first and the last among them."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(number)] for number in np.linspace(0, len(frames) - 1, count)]
