"""Where things move: the boxes of strongest motion that do not overlap, each thing once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmstream.encoders.motion import box_means
from mmstream.types import Float32, Frame

MOMENTS = 4
"""Moments of a window that are looked at: two a second in a window of two seconds."""
BOX_SHARE = 0.08
"""Side of a box as a share of the picture's width: a little less than what fits most cameras."""
APART = 0.6
"""Boxes whose corners are nearer than this share of their side show the same thing."""
MOVING = 2.0
"""Least mean speed of a box, thousandths of the picture width per 0.1 s: above the coder's noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A box in which something moves, in shares of the picture's width and height."""

    left: float
    top: float
    width: float
    height: float
    speed: float
    """Mean length of the vectors, thousandths of the picture's width per 0.1 s."""
    towards: tuple[float, float]
    """Their mean, x right and y down, in the same unit."""


def movers(motion: Float32, count: int) -> list[Mover]:
    """At most ``count`` boxes of a field (rows, cols, 2), strongest first (non-maximum suppression)."""
    vectors = np.ascontiguousarray(motion).view(np.complex64)[..., 0]
    rows, cols = vectors.shape
    side = max(1, round(BOX_SHARE * cols))
    apart = max(1, round(APART * side))
    speeds = box_means(np.abs(vectors), side)
    left = speeds.copy()
    found: list[Mover] = []
    while len(found) < count:
        row, col = divmod(int(left.argmax()), left.shape[1])
        if left[row, col] < MOVING:
            break
        left[max(0, row - apart + 1) : row + apart, max(0, col - apart + 1) : col + apart] = 0.0
        mean = vectors[row : row + side, col : col + side].mean()
        found.append(
            Mover(
                left=col / cols,
                top=row / rows,
                width=side / cols,
                height=side / rows,
                speed=float(speeds[row, col]),
                towards=(float(mean.real), float(mean.imag)),
            )
        )
    return found


def moments(frames: tuple[Frame, ...], length_s: float) -> list[Frame]:
    """At most `MOMENTS` frames with motion vectors, the newest last: the first of every quarter of ``length_s``, on
    a clock that all windows share, so that two windows which overlap look at the same frames."""
    every_s = length_s / MOMENTS
    chosen: list[Frame] = []
    number = None
    for frame in frames:
        before, number = number, int(frame.start_s / every_s + 1e-6)
        if frame.motion is not None and number != before:
            chosen.append(frame)
    return chosen[-MOMENTS:]
