"""What the expectation net is shown, and what it is asked to expect: the same in training and afterwards."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mmstream.encoders.expectation_net import CELL_PX
from mmstream.types import Float32, Frame, UInt8

MOVING = 0.3
"""Pixels per 0.1 s of a picture 360 px wide: slower cells are still."""
SPEED_UNIT = 0.36
"""`Frame.motion` has thousandths of the picture's width per 0.1 s; the net pixels of a picture 360 px wide, so that
its numbers are of order 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One picture, and how fast its cells moved: what is learned from."""

    at_s: float
    luma: UInt8
    """(H, W)"""
    background: UInt8
    """(H, W), as it was at that moment."""
    speeds: Float32
    """(rows, cols), cells of 4 px, in the net's unit."""


class Background:
    """A running median of the pictures: each pixel goes one level towards what it sees (McFarlane and Schofield 1995).

    Who crosses in seconds leaves no trace. 20 microseconds a picture.
    """

    def __init__(self, start: UInt8) -> None:
        self._levels = start.copy()

    @property
    def levels(self) -> UInt8:
        """(H, W), as it is now; not to be written into."""
        return self._levels

    def push(self, luma: UInt8) -> UInt8:
        """-> (H, W), this picture taken in. A picture of another size starts afresh."""
        if luma.shape != self._levels.shape:
            self._levels = luma.copy()
        self._levels += luma > self._levels
        self._levels -= luma < self._levels
        return self._levels.copy()


def samples_of(frames: Iterable[Frame]) -> Iterator[Sample]:
    """What can be learned from each picture; those without motion vectors only move the background."""
    background: Background | None = None
    for frame in frames:
        background = background or Background(frame.luma)
        still = background.push(frame.luma)
        speeds = speeds_of(frame)
        if speeds is not None:
            yield Sample(at_s=frame.start_s, luma=frame.luma, background=still, speeds=speeds)


def as_seen(luma: Float32, background: Float32) -> Float32:
    """(..., H, W) each -> (..., 2, H, W): the picture and its difference to the background, both of order 1."""
    seen = np.empty((*luma.shape[:-2], 2, *luma.shape[-2:]), np.float32)
    np.multiply(luma - np.float32(128.0), np.float32(1 / 50), out=seen[..., 0, :, :])
    np.multiply(luma - background, np.float32(1 / 30), out=seen[..., 1, :, :])
    return seen


def speeds_of(frame: Frame) -> Float32 | None:
    """(rows, cols) how fast each of the net's cells moves, in the net's unit; None without motion vectors.

    The vectors in a cell are averaged, not their lengths: what is noise cancels.
    """
    if frame.motion is None:
        return None
    rows, cols = (-(-length // CELL_PX) for length in frame.luma.shape)
    down, right = _overlaps(frame.motion.shape[0], rows), _overlaps(frame.motion.shape[1], cols).T
    speeds: Float32 = np.hypot(down @ frame.motion[..., 0] @ right, down @ frame.motion[..., 1] @ right)
    speeds *= np.float32(SPEED_UNIT)
    return speeds


@functools.lru_cache(maxsize=64)
def _overlaps(length: int, num_cells: int) -> Float32:
    """(num_cells, length): which share of each new cell every old one fills; rows sum to 1."""
    new = np.linspace(0.0, length, num_cells + 1)
    old = np.arange(length)
    shares = np.minimum(new[1:, None], old + 1) - np.maximum(new[:-1, None], old)
    weights: Float32 = (np.maximum(shares, 0.0) * num_cells / length).astype(np.float32)
    return weights
