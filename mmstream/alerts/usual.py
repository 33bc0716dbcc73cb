"""What a measured number usually is on this camera: the hour's median, and the last minutes' where that is lower."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

MINUTE_S = 60.0
HOUR_MINUTES = 60
RECENT_MINUTES = 5
FIRST_VALUES = 15
"""So many values of the first minute are enough to begin with."""


class Usual:
    """One number a minute for an hour. Slow change becomes usual within minutes, sudden change does not.

    >>> usual = Usual()
    >>> usual.value is None
    True
    >>> for second in range(300):
    ...     usual.push(50.0 - second / 60, float(second))
    >>> usual.value
    48.01
    """

    def __init__(self, minutes: Sequence[float] = ()) -> None:
        self._minutes: deque[float] = deque(minutes, maxlen=HOUR_MINUTES)
        self._values: list[float] = []
        self._minute = -1

    def push(self, value: float, at_s: float) -> None:
        minute = int(at_s // MINUTE_S)
        if minute != self._minute:
            if len(self._values) >= FIRST_VALUES:
                self._minutes.append(float(f"{statistics.median(self._values):.4g}"))
            self._values, self._minute = [], minute
        if len(self._values) < MINUTE_S * 4:
            self._values.append(value)

    @property
    def value(self) -> float | None:
        """The lower of two medians, the hour's and the last five minutes'; None while nothing is known."""
        if self._minutes:
            recent = list(self._minutes)[-RECENT_MINUTES:]
            return min(statistics.median(self._minutes), statistics.median(recent))
        return statistics.median(self._values) if len(self._values) >= FIRST_VALUES else None

    @property
    def lowest(self) -> float | None:
        """The quietest minute of the hour."""
        return min(self._minutes) if self._minutes else self.value

    def state(self) -> list[float]:
        return list(self._minutes)
