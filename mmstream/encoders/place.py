"""What moves where, which way and how fast: against the traffic, across the lawn."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from mmstream.encoders.movers import MOMENTS, MOVING, Mover, moments, movers
from mmstream.types import Channel, Embedding, Window

MAX_PARTS = 8
PART_DIM = 3 + 4
PLACE_UNIT = 0.2
"""So far apart, as a share of the picture, counts like ..."""
SPEED_UNIT = 0.7
"""... twice the speed (a factor of two is 0.7 in natural logarithms) or another direction."""


class PlaceEncoder:
    """Direction, speed and place of up to 8 moving boxes (`movers`) at up to 4 moments of the window.

    For a wrong way or a forbidden place: a weak witness of its own (UCSD Ped2: 0.80-0.86 AUC), so it counts a quarter.

    The vector (224,) is 32 parts of 7 numbers: which moment (1 to 4; 0 = no part here), the box's
    centre as shares of width and height, and what is compared: the centre from the left over 0.2; the
    mean motion's direction times ``log(1 + speed / 2)`` over 0.7, x right and y down; and
    that logarithm of the mean length of the vectors, which a crowd walking both ways has as well.

    Needs `Frame.motion`. 0.2 ms per moment, of which each is measured once.
    """

    channel: ClassVar[Channel] = Channel(
        name="place", modality="picture", normality="parts", density=False, weight=0.25, aspect="movement"
    )

    def __init__(self) -> None:
        self.model = "moving-boxes@1"
        self.dim = MOMENTS * MAX_PARTS * PART_DIM
        self._known: dict[float, list[list[float]]] = {}

    def encode(self, window: Window) -> Embedding | None:
        """None without motion vectors; all 0 when nothing moves."""
        frames = moments(window.frames, window.end_s - window.start_s)
        if not frames:
            return None
        vector = np.zeros((MOMENTS, MAX_PARTS, PART_DIM), np.float32)
        self._known = {f.start_s: self._known[f.start_s] for f in frames if f.start_s in self._known}
        for number, frame in enumerate(frames):
            parts = self._known.get(frame.start_s)
            if parts is None:
                assert frame.motion is not None
                parts = self._known[frame.start_s] = [_described(box) for box in movers(frame.motion, MAX_PARTS)]
            if parts:
                vector[number, : len(parts)] = parts
                vector[number, : len(parts), 0] = number + 1
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=vector.ravel(),
            model=self.model,
        )


def _described(box: Mover) -> list[float]:
    x, y = box.left + box.width / 2, box.top + box.height / 2
    right, down = box.towards
    length = math.hypot(right, down)
    pace = math.log1p(length / MOVING) / SPEED_UNIT / max(length, 1e-9)
    return [0.0, x, y, x / PLACE_UNIT, right * pace, down * pace, math.log1p(box.speed / MOVING) / SPEED_UNIT]
