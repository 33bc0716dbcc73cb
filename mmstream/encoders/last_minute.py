"""What was usual over the last minute, so that what is new in it can be told from what goes on all the time."""

from __future__ import annotations

from collections import deque

import numpy as np

from mmstream.types import Float32

MINUTE_S = 60.0
APART_S = 0.9
"""Vectors closer in time than this are not counted twice."""
MAX_KEPT = 64


class LastMinute:
    """The running median of the vectors of the last minute, coordinate by coordinate; at most `MAX_KEPT` of them.

    A sound of less than half a minute does not move it. It starts with the first vector: what happens in
    the first seconds is then its own background, and nothing new.

    >>> last = LastMinute()
    >>> [float(last.usual(np.float32([level]), second)[0]) for second, level in enumerate([1, 1, 9, 1, 1])]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Float32]] = deque(maxlen=MAX_KEPT)

    def usual(self, vector: Float32, at_s: float) -> Float32:
        """Take ``vector`` in -> (D,) the median of what is kept of the minute up to ``at_s``.

        After a step of the clock back, or a pause of a minute, it starts again.
        """
        if self._kept and at_s < self._kept[-1][0]:
            self._kept.clear()
        while self._kept and self._kept[0][0] <= at_s - MINUTE_S:
            self._kept.popleft()
        if not self._kept or at_s - self._kept[-1][0] >= APART_S:
            self._kept.append((at_s, vector))
        return _median(np.array([kept for _, kept in self._kept]))


def _median(rows: Float32) -> Float32:
    """(n, D) -> (D,), the lower one of the middle two: half the time of ``np.median``."""
    middle: Float32 = np.partition(rows, (len(rows) - 1) // 2, axis=0)[(len(rows) - 1) // 2]
    return middle
