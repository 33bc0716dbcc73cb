"""Words and sensor readings that other programs send over the API, as a source."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from mmstream.config import FeedConfig
from mmstream.types import Reading, SourceItem, Status, TextSpan

MAX_QUEUED = 1000
TICK_S = 1.0


class PushSource:
    """Yields what was pushed, in that order, until `stop`; what is queued then is still given.

    It yields a `Status` every ``TICK_S``, whether anything comes or not: time goes on, what was said last
    must be judged though nobody says anything after it, and in a flood nothing else tells the time.

    ``push`` takes finished items, ``push_text`` and ``push_reading`` make them. Pushing never waits:
    when ``max_queued`` items wait for the reader, or after `stop`, it is refused (False), and counted in
    ``counters``: who was told that something is taken must be able to rely on it. All methods but
    iteration may be called from any thread.
    """

    def __init__(self, feed: FeedConfig, *, max_queued: int = MAX_QUEUED, now: Callable[[], float] = time.time) -> None:
        if max_queued < 1:
            raise ValueError(f"max_queued: want at least 1, got {max_queued}")
        self.feed_id = feed.id
        self.counters: dict[str, float] = {"pushed_refused": 0}
        self._max_queued = max_queued
        self._now = now
        self._queue: deque[TextSpan | Reading] = deque()
        self._changed = threading.Condition()
        self._stopped = False

    def push(self, item: TextSpan | Reading) -> bool:
        """False: it is refused."""
        with self._changed:
            if self._stopped or len(self._queue) >= self._max_queued:
                self.counters["pushed_refused"] += 1
                return False
            self._queue.append(item)
            self._changed.notify()
            return True

    def push_text(self, text: str, *, start_s: float, end_s: float | None = None, confidence: float = 1.0) -> bool:
        """Words that belong to ``[start_s, end_s)``; without ``end_s`` to one moment.

        Raises:
            ValueError: a time is not finite, or the end is before the start.
        """
        end_s = start_s if end_s is None else end_s
        _check_finite(start_s=start_s, end_s=end_s)
        return self.push(
            TextSpan(
                feed_id=self.feed_id, start_s=start_s, end_s=end_s, text=text, origin="pushed", confidence=confidence
            )
        )

    def push_reading(self, sensor: str, value: float, *, at_s: float) -> bool:
        """One number of one sensor.

        Raises:
            ValueError: the value or the time is not finite.
        """
        _check_finite(value=value, at_s=at_s)
        return self.push(Reading(feed_id=self.feed_id, start_s=at_s, end_s=at_s, sensor=sensor, value=value))

    def __iter__(self) -> Iterator[SourceItem]:
        told_s = -math.inf
        if not self._stopped:
            status = self._status()
            told_s = status.start_s
            yield status
        while not (self._stopped and not self._queue):
            item = self._take()
            if item is not None:
                yield item
            if not self._stopped and (item is None or self._now() - told_s >= TICK_S):
                status = self._status()
                told_s = status.start_s
                yield status

    def _status(self) -> Status:
        at_s = self._now()
        sentence = f"{self.feed_id}: live; takes words and readings over the API."
        return Status(feed_id=self.feed_id, start_s=at_s, end_s=at_s, state="live", sentence=sentence)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take(self) -> TextSpan | Reading | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped, TICK_S)
            return self._queue.popleft() if self._queue else None


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: want a finite number, got {value}")
