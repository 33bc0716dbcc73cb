"""What a store and a media store must offer; the conformance suite runs over every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mmstream.types import Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRecord:
    """One feed as the operator wants it. ``settings`` is a `config.FeedConfig` as plain JSON,
    with ``${ENV}`` references unresolved: secrets are put in where the feed is opened."""

    feed_id: str
    settings: Mapping[str, Any]
    revision: int = 0
    """Grows by one with every change; a shard that runs another revision must restart the feed."""
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertQuery:
    """Which alerts, newest first. ``cursor`` comes from the page before and is opaque to callers."""

    feed_id: str | None = None
    state: str | None = None
    severity: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    quiet: bool = False
    """True: instead of those that were told, those that were not (see `is_quiet`)."""
    limit: int = 50
    cursor: str | None = None


def is_quiet(alert: Alert) -> bool:
    """Kept to be looked up, never pushed to anybody: a notice, or one beyond the budget."""
    return alert.suppressed or alert.severity == "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPage:
    alerts: Sequence[Alert]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One line of the alert log: what SSE sends, less the quiet ones. ``sequence`` grows by one, never has gaps."""

    sequence: int
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one fusion step decided about one feed, written in one transaction.

    ``tracker`` (small, JSON) is the alert state machine after this step: a fusion actor that dies
    right after the commit comes back knowing every alert it has raised, so none is doubled; one
    that dies right before it sees the same windows again and decides the same, so none is lost.
    """

    feed_id: str
    alerts: Sequence[Alert] = field(default_factory=tuple)
    tracker: Mapping[str, Any] | None = None


class StoreReader(Protocol):
    """What the API needs. Safe to call from several threads and, for SQLite, from other processes."""

    def feeds(self) -> Sequence[FeedRecord]: ...

    def feed(self, feed_id: str) -> FeedRecord | None: ...

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """feed_id -> the latest status (JSON object) its shard reported."""
        ...

    def alerts(self, query: AlertQuery) -> AlertPage:
        """Raises StoreError for a cursor that this store did not make."""
        ...

    def alert(self, alert_id: str) -> Alert | None: ...

    def events_after(self, sequence: int, limit: int = 100) -> Sequence[AlertEvent]: ...

    def last_sequence(self) -> int: ...

    def tracker(self, feed_id: str) -> Mapping[str, Any] | None: ...

    def value(self, key: str) -> str | None:
        """Small named values of the site: the hash of the API key, the site's start."""
        ...

    def close(self) -> None: ...


class Store(StoreReader, Protocol):
    """The writer's half. For SQLite exactly one process opens it for writing."""

    def put_feed(self, feed_id: str, settings: Mapping[str, Any], *, paused: bool = False) -> FeedRecord:
        """Insert or change; the revision grows. Same settings and paused again: no change at all."""
        ...

    def remove_feed(self, feed_id: str) -> bool:
        """False when there was none. Its alerts stay."""
        ...

    def put_statuses(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        """Latest only; a status of a feed that is not in the store (removed meanwhile) is left out."""
        ...

    def commit(self, commit: Commit) -> None:
        """Upsert the alerts by id, append each to the event log, keep the tracker state: all or nothing.

        An alert that an operator has acknowledged or closed keeps that, its verdict and its note; an
        alert that already has a clip, thumbnail, spectrogram or narration keeps it unless the new value has one.
        """
        ...

    def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None:
        """Change single fields (state, verdict, verdict_by, note, clip, thumbnail, spectrogram, narration,
        narrated_by), append to the event log, and answer the new alert; None when there is no such alert."""
        ...

    def put_value(self, key: str, value: str) -> None: ...


class MediaStore(Protocol):
    """Bytes by key: clips, pictures, snapshots of learned state. Keys are relative paths of
    ``[A-Za-z0-9._-]`` parts joined by ``/``; anything else raises StoreError (no way out of the root)."""

    def put(self, key: str, data: bytes) -> None:
        """Atomic: a reader sees the old bytes or the new ones, never a part."""
        ...

    def get(self, key: str) -> bytes | None: ...

    def local_path(self, key: str) -> str | None:
        """A path that this process can open, for Range requests; None when there is no such file."""
        ...

    def delete(self, key: str) -> None: ...

    def keys(self, prefix: str) -> Sequence[str]: ...
