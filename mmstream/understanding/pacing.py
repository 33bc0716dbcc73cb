"""A recording must not run away from the questions that are asked about it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

LEAD_S = 20.0
"""Of the feed's own time: half of what words may be late for their windows, within what the packet ring holds."""
_LOOK_EVERY_S = 0.2


class Pacing:
    """Holds the thread that reads a recording: at most `LEAD_S` ahead of what has been judged, and not at all while a
    model is asked about it. A recording is read many times faster than real time: an answer would come minutes late.

    No deadlock: judging never waits for the reader, and every question is answered or dropped in bounded time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unjudged: deque[float] = deque()
        self._num_asked = 0

    def judged(self) -> None:
        """The oldest window that is on its way has been judged."""
        with self._changed:
            if self._unjudged:
                self._unjudged.popleft()
            self._changed.notify_all()

    def asked(self) -> None:
        with self._changed:
            self._num_asked += 1

    def answered(self) -> None:
        with self._changed:
            self._num_asked -= 1
            self._changed.notify_all()

    def wait_for_window(self, at_s: float, stopped: Callable[[], bool]) -> None:
        """Return when a window at ``at_s`` may be sent on its way, or when the feed has been stopped."""
        self._wait(lambda: self._num_asked == 0 and (not self._unjudged or at_s - self._unjudged[0] <= LEAD_S), stopped)
        with self._changed:
            self._unjudged.append(at_s)

    def wait_for_all(self, stopped: Callable[[], bool]) -> None:
        """Return when every window has been judged and every question answered."""
        self._wait(lambda: self._num_asked == 0 and not self._unjudged, stopped)

    def _wait(self, ready: Callable[[], bool], stopped: Callable[[], bool]) -> None:
        with self._changed:
            while not self._changed.wait_for(lambda: stopped() or ready(), _LOOK_EVERY_S):
                pass
