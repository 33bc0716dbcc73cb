"""Encoded packets grow when there is more to tell: a sign of activity that needs no decoding."""

from __future__ import annotations

import math
from collections import deque


class PacketSizes:
    """How far the packets' mean log size of one second is above its own last two minutes.

    Many encoders spend bits in the rhythm of their groups of pictures (the first pictures after a key frame small, the
    last ones large), so every size is taken against the usual one at its place in the group. Robust z: median and
    1.4826 MAD of the lower half (activity only ever makes packets larger).
    """

    BASELINE_S = 120
    MIN_BASELINE_S = 20
    MIN_SCALE = 0.02
    MAX_PER_SECOND = 240
    """A camera whose clock stands still must not fill the memory."""
    MAX_PLACES = 300
    """In a group of pictures; later ones share the last place."""
    PLACE_RATE = 0.05
    MAX_STEP = 0.5
    """In log2 of the size: something that moves through the picture must not become usual at once."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._usual: list[float] = []
        """Mean log size by place in the group of pictures."""
        self._place = 0
        self._num_groups = 0
        self._second: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._means: deque[float] = deque(maxlen=self.BASELINE_S)
        self._noted_s = -math.inf
        self._limit = math.inf
        self._armed = True

    def disarm(self) -> None:
        """Wake only on the next rise: the noise may have grown for good, and the median follows."""
        self._armed = False

    def begin_group(self) -> None:
        """A key packet came."""
        self._place = 0
        self._num_groups += 1

    def push(self, at_s: float, size_bytes: int) -> bool:
        """Take one non-key packet; -> True when it is time to wake."""
        second = self._second
        excess = self._excess(math.log2(size_bytes + 1))
        second.append((at_s, excess))
        self._sum += excess
        while second[0][0] <= at_s - 1.0 or len(second) > self.MAX_PER_SECOND:
            self._sum -= second.popleft()[1]
        mean = self._sum / len(second)
        if at_s - self._noted_s >= 1.0:
            self._note(at_s, mean)
        if mean <= self._limit:
            self._armed = True
            return False
        return self._armed and at_s - second[0][0] > 0.5

    def _excess(self, log_size: float) -> float:
        """Above what is usual at this place; learns it."""
        place, usual = self._place, self._usual
        self._place = min(place + 1, self.MAX_PLACES - 1)
        if place >= len(usual):
            # a place never seen before: what is usual at the one before is the best guess
            usual.append(usual[-1] if usual and self._num_groups > 1 else log_size)
        excess = log_size - usual[place]
        rate = max(self.PLACE_RATE, 1.0 / max(1, self._num_groups))
        usual[place] += rate * max(-self.MAX_STEP, min(self.MAX_STEP, excess))
        return excess

    def _note(self, at_s: float, mean: float) -> None:
        """Once a second: renew the limit from the seconds before this one."""
        self._noted_s = at_s
        self._sum = sum(value for _, value in self._second)  # running sums gather rounding errors
        if len(self._means) >= self.MIN_BASELINE_S:
            means = sorted(self._means)
            median = means[len(means) // 2]
            spread = median - means[len(means) // 4]  # the median of the lower half's distances
            self._limit = median + self._threshold * max(1.4826 * spread, self.MIN_SCALE)
        self._means.append(mean)
