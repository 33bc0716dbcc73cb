"""Words and sensor readings that other programs send over the API, as a source."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator

from mmstream.config import FeedConfig
from mmstream.types import Reading, SourceItem, TextSpan

MAX_QUEUED = 1000


class PushSource:
    """Yields what was pushed, in that order, until `stop`; what is queued then is still given.

    ``push`` takes finished items, ``push_text`` and ``push_reading`` make them. Pushing never waits:
    when ``max_queued`` items wait for the reader, the oldest is dropped and counted in ``num_dropped``.
    Pushing after `stop` is refused (False). All methods but iteration may be called from any thread.
    """

    def __init__(self, feed: FeedConfig, *, max_queued: int = MAX_QUEUED) -> None:
        if max_queued < 1:
            raise ValueError(f"max_queued: want at least 1, got {max_queued}")
        self.feed_id = feed.id
        self.num_dropped = 0
        self._max_queued = max_queued
        self._queue: deque[TextSpan | Reading] = deque()
        self._changed = threading.Condition()
        self._stopped = False

    def push(self, item: TextSpan | Reading) -> bool:
        """False after `stop`."""
        with self._changed:
            if self._stopped:
                return False
            if len(self._queue) >= self._max_queued:
                self._queue.popleft()
                self.num_dropped += 1
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
        while (item := self._take()) is not None:
            yield item

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take(self) -> TextSpan | Reading | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped)
            return self._queue.popleft() if self._queue else None


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: want a finite number, got {value}")
