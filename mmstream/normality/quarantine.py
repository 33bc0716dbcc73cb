"""Windows of alerts: kept out of what is normal until an operator, or time, decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mmstream.normality.lessons import Key, Lesson, Vector, halved, pack, unpack

MAX_CASES = 8
MAX_WINDOWS = 64
MAX_BYTES = 384 * 1024
"""Of all vectors, in half precision. Too much: the largest case gives up every second window."""

UNREVIEWED_S = 72 * 3600.0
"""Nobody has looked for so long (of the feed's own time): the windows enter with half weight."""

Fate = Literal["", "absorbed", "confirmed"]


@dataclass(slots=True, kw_only=True, eq=False)
class Case:
    """The windows of one alert. Kept for a while after a verdict too, so that it can be changed."""

    alert_id: str
    since_s: float
    lessons: list[Lesson]
    """Vectors in half precision."""
    fate: Fate = ""

    @property
    def num_bytes(self) -> int:
        return sum(lesson.num_bytes for lesson in self.lessons)


class Quarantine:
    """At most 8 cases of at most 64 windows; the oldest case goes out first."""

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def put(self, alert_id: str, lessons: Sequence[Lesson], since_s: float) -> None:
        if not lessons:
            return
        step = -(-len(lessons) // MAX_WINDOWS)
        kept = [halved(lesson) for lesson in lessons[::step]]
        self._cases.pop(alert_id, None)
        self._cases[alert_id] = Case(alert_id=alert_id, since_s=since_s, lessons=kept)
        while len(self._cases) > MAX_CASES:
            del self._cases[next(iter(self._cases))]
        while sum(case.num_bytes for case in self._cases.values()) > MAX_BYTES:
            largest = max(self._cases.values(), key=lambda case: case.num_bytes)
            largest.lessons = largest.lessons[1::2]
            if not largest.lessons:
                del self._cases[largest.alert_id]

    def case(self, alert_id: str) -> Case | None:
        return self._cases.get(alert_id)

    def due(self, now_s: float) -> list[Lesson]:
        """Forget the cases that have lain too long -> every second window of those nobody has looked at."""
        over = [case for case in self._cases.values() if now_s - case.since_s >= UNREVIEWED_S]
        for case in over:
            del self._cases[case.alert_id]
        return [lesson for case in over if not case.fate for lesson in case.lessons[::2]]

    def state(self, keys: Sequence[Key]) -> tuple[list[Any], Vector]:
        """-> (JSON, vectors)."""
        record: list[Any] = []
        vectors: list[Vector] = [np.zeros(0, np.float16)]
        for case in self._cases.values():
            lessons, joined = pack(case.lessons, keys)
            record.append([case.alert_id, case.since_s, case.fate, len(joined), lessons])
            vectors.append(joined)
        return record, np.concatenate(vectors)

    def load(self, record: Sequence[Any], keys: Sequence[Key], vectors: Vector) -> None:
        """Raises KeyError, ValueError, IndexError: it is not what `state` gave."""
        self._cases = {}
        start = 0
        for alert_id, since_s, fate, count, packed in record:
            lessons = unpack(packed, keys, vectors[start : start + count])
            self._cases[alert_id] = Case(alert_id=alert_id, since_s=since_s, lessons=lessons, fate=fate)
            start += count
