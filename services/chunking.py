"""How many inputs a call may carry so that its answer comes in time: learned from the answers."""

from __future__ import annotations

IN_TIME = 0.5
"""A call that took less than this share of the patience could have carried more."""


class ChunkSize:
    """Halved after a call that did not come back in time, grown again while answers come well in time.

    Without it a slow model answers nothing at all: a chunk of 32 pictures at six a second is never there after two
    seconds, and the next one is as large.

    >>> size = ChunkSize(patience_s=2.0, most=32)
    >>> size.note(32, None)
    >>> size.note(16, 1.8)
    >>> size.most
    16
    >>> size.note(16, 0.3)
    >>> size.most
    20
    """

    def __init__(self, *, patience_s: float, most: int) -> None:
        self._patience_s, self._limit = patience_s, most
        self.most = most

    def note(self, num_inputs: int, took_s: float | None) -> None:
        """``took_s`` is None when there was no answer in time."""
        if took_s is None:
            self.most = max(1, min(self.most, num_inputs) // 2)
        elif num_inputs >= self.most and took_s < IN_TIME * self._patience_s:
            self.most = min(self._limit, self.most + max(1, self.most // 4))
