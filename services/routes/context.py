"""What every route is given: the reading half of the store, the writing half, the media and the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mmstream.config import FeedConfig, RuleConfig
from mmstream.storage.base import FeedRecord, MediaStore, StoreReader
from mmstream.types import Alert, Reading, TextSpan
from services.model_record import What
from services.problems import Problem

ARCHIVE_STATUS = "archive_status"
"""Key in the store: JSON, what the archive has done and what troubles it."""
MISSING_ENCODERS = "missing_encoders"
"""Key in the store: JSON, encoder -> why the site runs without it."""


class Commands(Protocol):
    """The writing half. All of them raise StoreError when the writer cannot be reached."""

    async def put_feed(self, feed_id: str, settings: Mapping[str, Any], paused: bool) -> FeedRecord: ...

    async def remove_feed(self, feed_id: str) -> bool: ...

    async def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None: ...

    async def put_rule(self, rule: RuleConfig) -> None: ...

    async def remove_rule(self, name: str) -> bool:
        """False when there was none."""
        ...

    async def begin_swap(self, what: What, model: str, version: str, reason: str) -> None:
        """Start putting another version of a model to use. Raises ValueError: another swap is under way."""
        ...

    async def push_text(self, spans: Sequence[TextSpan]) -> int:
        """How many were taken. Raises StoreError when the queue is full."""
        ...

    async def push_readings(self, readings: Sequence[Reading]) -> int:
        """How many were taken. Raises StoreError when the queue is full."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    reader: StoreReader
    commands: Commands
    media: MediaStore
    prober: Callable[[FeedConfig], Mapping[str, Any]]
    site_name: str
    now: Callable[[], float]

    def feed(self, feed_id: str) -> FeedRecord:
        record = self.reader.feed(feed_id)
        if record is None:
            raise Problem(404, "no_such_feed", f"There is no feed {feed_id!r}; GET /api/v1/feeds lists them.")
        return record

    def alert(self, alert_id: str) -> Alert:
        alert = self.reader.alert(alert_id)
        if alert is None:
            raise no_such_alert(alert_id)
        return alert


def no_such_alert(alert_id: str) -> Problem:
    return Problem(404, "no_such_alert", f"There is no alert {alert_id!r}; GET /api/v1/alerts lists them.")
