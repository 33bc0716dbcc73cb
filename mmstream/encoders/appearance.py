"""What the scene looks like: a tiny picture, in units in which a passing cloud changes little."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmstream.downscale import area_reduced
from mmstream.robust import quartiles
from mmstream.types import Channel, Embedding, Float32, Float64, Frame, Region, UInt8, Where, Window

GRID = (9, 16)
MAX_FRAMES = 5
MIN_CONTRAST = 8.0
"""Levels: a black or fogged picture must not have its noise blown up to a scene."""
JUST_SEEN = 0.2
"""Less than this in one number of the vector cannot be seen."""
OTHER_LIGHT = (2.0, 1.0)
"""32 levels brighter or darker, twice or half the contrast: the whole picture is another."""


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

    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:
        """The patch of cells around the one that differs most from ``usual``: those that hang together
        with it and differ at least half as much. None when nothing differs by what can be seen.

        When the lights go out, or only the light and no cell differs, it is the whole picture.
        """
        if usual is None:
            return None
        cells = GRID[0] * GRID[1]
        apart = np.abs(vector - usual)
        different = apart[:cells].reshape(GRID)
        strongest = float(different.max())
        if strongest < JUST_SEEN and apart.max() < JUST_SEEN:
            return None
        if strongest < JUST_SEEN or (apart[cells : cells + 2] >= OTHER_LIGHT).any():
            return Where(region=(0.0, 0.0, 1.0, 1.0))
        row, col = divmod(int(different.argmax()), GRID[1])
        return Where(region=_around(different >= 0.5 * strongest, row, col))

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


def _around(marked: npt.NDArray[np.bool_], row: int, col: int) -> Region:
    """The box of the marked cells that hang together, corners included, with the one at ``row, col``."""
    rows, cols = marked.shape
    left_over, found = marked.copy(), []
    waiting = [(row, col)]
    while waiting:
        row, col = waiting.pop()
        if 0 <= row < rows and 0 <= col < cols and left_over[row, col]:
            left_over[row, col] = False
            found.append((row, col))
            waiting += [(row + down, col + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    at_rows, at_cols = zip(*found, strict=True)
    return min(at_cols) / cols, min(at_rows) / rows, (max(at_cols) + 1) / cols, (max(at_rows) + 1) / rows
