"""From the surprise of single windows to the one number that the state machine compares."""

from __future__ import annotations

JITTER = 1e-9
"""Breaks ties between equal scores (p-values have a floor), far below any difference that matters."""

_SPREAD = 2_654_435_761
"""2^32 over the golden ratio: multiples of it fall evenly over 32 bits (Knuth, TAOCP 6.4)."""


class Debounce:
    """``max(median of the last 3, newest - 1)``: two of three windows, or one ten times rarer.

    >>> debounce = Debounce()
    >>> [debounce.push(score) for score in (0.0, 5.0, 5.0, 0.0)]
    [0.0, 4.0, 5.0, 5.0]
    """

    def __init__(self, recent: tuple[float, float] = (0.0, 0.0)) -> None:
        self.recent = recent

    def push(self, score: float) -> float:
        before, last = self.recent
        self.recent = (last, score)
        least, most = (before, last) if before < last else (last, before)
        return max(least, min(most, score), score - 1.0)


def tie_jitter(end_s: float) -> float:
    """In [0, 1e-9), the same whenever the same window is judged again.

    >>> tie_jitter(1_700_000_000.0) == tie_jitter(1_700_000_000.0) != tie_jitter(1_700_000_001.0)
    True
    """
    return ((round(end_s * 1000) * _SPREAD) & 0xFFFFFFFF) * (JITTER / 2**32)
