"""Motion vectors of a compressed video, laid out as a fixed grid of cells over the picture.

The encoder has already searched, for every block, where it came from. Reading its answer costs a
tenth of an optical flow, and at the same resolution it separates fast things better.
"""

from __future__ import annotations

import math
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer

from mmstream.sources.references import References
from mmstream.types import Float32, Packet

GRID_COLS = 90
"""Cells over the picture's width: 4 px each in a picture 360 px wide."""

_STEP_S = 0.1
_LEAST_DISTANCE_S = 0.005  # two pictures closer than that have wrong times
_SMOOTHED_S = 0.25
"""A field this much older is still averaged with: the analysed picture before, at 5 a second."""
_Index = npt.NDArray[np.intp]
_Short = npt.NDArray[np.int16]


class MotionReader:
    """Follows the packets and pictures of one decoder and reads motion only when asked."""

    def __init__(self) -> None:
        self._references = References()
        self._grid: MotionGrid | None = None
        self._newest: tuple[av.VideoFrame, float] | None = None
        self._raw: tuple[Float32, float] | None = None
        self._last: Float32 | None = None
        self._was_key = False

    def note(self, packet: Packet) -> None:
        """The packet goes into the decoder."""
        self._references.note(packet)

    def push(self, frame: av.VideoFrame, start_s: float) -> None:
        """The picture has come out of it."""
        if self._grid is None or self._grid.size_px != (frame.width, frame.height):
            self._grid = MotionGrid(frame.width, frame.height)
            self._raw = self._last = None
        is_key = bool(frame.key_frame)
        if is_key and self._was_key:
            self._last = None  # key frames alone: the motion before them is long gone
        self._was_key = is_key
        self._newest = None if is_key else (frame, start_s)

    def read(self) -> Float32 | None:
        """Mean of this picture's field and the one read before; on a key frame what was given before;
        None without vectors.

        Laying out a field costs more than anything else that is done to a picture, so those between two
        that are asked for are not looked at.
        """
        if self._newest is None:
            return self._last
        frame, start_s = self._newest
        past_s, future_s = self._references.distances_s(start_s)
        if past_s is None and future_s is None:
            return self._last
        # Not `frame.side_data`: frame and container would hold each other, and pictures of a megabyte each
        # would wait for Python's cycle collector (4 GB with eight cameras).
        vectors = SideDataContainer(frame).get("MOTION_VECTORS")  # type: ignore[call-arg]
        if vectors is None:
            self._raw = self._last = None
            return None
        assert self._grid is not None
        before, raw = self._raw, self._grid.lay_out(vectors, past_s, future_s)
        self._raw = raw, start_s
        near = before is not None and 0.0 < start_s - before[1] <= _SMOOTHED_S
        self._last = np.float32(0.5) * (raw + before[0]) if before is not None and near else raw
        return self._last


class MotionGrid:
    """Lays motion vectors out for pictures of one size.

    A vector covers a block of 4, 8 or 16 px. Blocks are first summed, weighted by their area, on a
    raster of 4, 8 or 16 px, whichever is nearest to a cell; then each cell takes the raster point
    under its centre. Blocks without a vector (intra coded) count as still.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        self.size_px = (width_px, height_px)
        self.shape = (max(1, round(GRID_COLS * height_px / width_px)), GRID_COLS)
        cell_px = width_px / GRID_COLS
        self._pitch_px = min((4, 8, 16), key=lambda pitch: abs(pitch - cell_px))
        self._raster = (-(-height_px // 16) * 16 // self._pitch_px, -(-width_px // 16) * 16 // self._pitch_px)
        rows = _centres(self.shape[0], height_px, self._pitch_px)
        cols = _centres(self.shape[1], width_px, self._pitch_px)
        self._cells: _Index = rows[:, None] * self._raster[1] + cols[None, :]

    def lay_out(self, vectors: Any, past_s: float | None, future_s: float | None = None) -> Float32:
        """-> (rows, cols, 2): motion, x right and y down, in thousandths of the picture width per 0.1 s.

        ``vectors`` are those of ``av``; ``past_s`` and ``future_s`` are the times between the picture and what they
        point to. Those of a kind without a time are left out. Where a block has two, their mean counts.
        """
        array = vectors.to_ndarray()
        times = np.where(array["source"] < 0, -_usable(past_s), _usable(future_s))
        known = np.isfinite(times)
        array, times = (array, times) if known.all() else (array[known], times[known])
        field = np.zeros((*self.shape, 2), np.float32)
        if not array.size:
            return field
        width, height, pitch = array["w"].astype(np.int16), array["h"].astype(np.int16), self._pitch_px
        index, block = self._touched(array["dst_x"] - width // 2, array["dst_y"] - height // 2, width, height)
        share = np.minimum(width, pitch) * np.minimum(height, pitch) / pitch**2
        size = self._raster[0] * self._raster[1]
        covered = np.maximum(np.bincount(index, share[block], size)[self._cells], 1.0)
        unit = 1000.0 / self.size_px[0] / float(array["motion_scale"][0]) * _STEP_S
        for axis, name in enumerate(("motion_x", "motion_y")):
            raster = np.bincount(index, (array[name] * share * (unit / times))[block], size)
            field[..., axis] = raster[self._cells] / covered
        return field

    def _touched(self, left: _Short, top: _Short, width: _Short, height: _Short) -> tuple[_Index, _Index | slice]:
        """-> (raster point, which block), one entry per point that a block covers.

        The vectors of a damaged picture may point anywhere: blocks that stick out are moved inside.
        """
        (rows, cols), pitch = self._raster, self._pitch_px
        x = np.maximum(np.minimum(left, cols * pitch - width), 0) // pitch
        y = np.maximum(np.minimum(top, rows * pitch - height), 0) // pitch
        index = y.astype(np.intp) * cols + x
        if pitch == 16:  # no block is larger than a raster point
            return index, slice(None)
        block = np.arange(len(index))
        for length, step in ((width, 1), (height, cols)):
            for half_px in (8, 4):  # sides are 4, 8 or 16 px: what is longer gets its other half, then quarters
                if half_px >= pitch:
                    long = np.flatnonzero(length[block] > half_px)
                    index = np.concatenate([index, index[long] + half_px // pitch * step])
                    block = np.concatenate([block, block[long]])
        return index, block


def _usable(distance_s: float | None) -> float:
    return math.nan if distance_s is None or distance_s < _LEAST_DISTANCE_S else distance_s


def _centres(cells: int, length_px: int, pitch_px: int) -> _Index:
    centres = (np.arange(cells) + 0.5) * length_px / cells
    return (centres // pitch_px).astype(np.intp)
