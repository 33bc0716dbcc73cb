"""Recordings wait for their encoder replicas, however long those take.

A live window is judged without what comes too late. A recording is read many times faster than
real time, so by its own clock every answer would be late: its windows are held here until all that
was asked for is there, which also makes evaluation the same on fast and on slow machines.
"""

from __future__ import annotations

import dataclasses
from collections import deque

from mmstream.types import Embedding, EncodedWindow


class Holdback:
    """Windows of one feed in order, each complete. Bounded by the pictures in flight of that feed.

    >>> from mmstream.testing import make_embedding, make_encoded
    >>> holdback = Holdback()
    >>> holdback.push(make_encoded(0.0, pending=["vision"])), holdback.push(make_encoded(1.0))
    ([], [])
    >>> [w.start_s for w in holdback.answer(0.0, "vision", make_embedding(0.0, channel="vision"))]
    [0.0, 1.0]
    """

    def __init__(self) -> None:
        self._windows: deque[EncodedWindow] = deque()
        self._waits_for: dict[float, set[str]] = {}
        self._answers: dict[float, list[Embedding]] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def push(self, window: EncodedWindow) -> list[EncodedWindow]:
        """Take a window; -> the windows that are complete now."""
        self._windows.append(window)
        if window.pending:
            self._waits_for[window.start_s] = set(window.pending)
        return self._complete()

    def answer(self, start_s: float, encoder: str, embedding: Embedding | None) -> list[EncodedWindow]:
        """What ``encoder`` said of the window at ``start_s``; None when it will say nothing."""
        waits_for = self._waits_for.get(start_s)
        if waits_for is None or encoder not in waits_for:
            return []
        waits_for.discard(encoder)
        if embedding is not None:
            self._answers.setdefault(start_s, []).append(embedding)
        if not waits_for:
            del self._waits_for[start_s]
        return self._complete()

    def _complete(self) -> list[EncodedWindow]:
        complete = []
        while self._windows and self._windows[0].start_s not in self._waits_for:
            window = self._windows.popleft()
            late = tuple(self._answers.pop(window.start_s, ()))
            complete.append(
                dataclasses.replace(window, embeddings=window.embeddings + late, pending=frozenset())
                if window.pending
                else window
            )
        return complete
