"""The store of one machine: one SQLite file, written by exactly one process, read by any.

Write-ahead log: readers never wait for the writer, nor it for them. ``synchronous=NORMAL``: what was
acknowledged survives the death of the process; a power cut can take the last moments, never the file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmstream.config import SiteConfig
from mmstream.errors import StoreError
from mmstream.storage.base import AlertEvent, AlertPage, AlertQuery, Commit, FeedRecord, is_quiet
from mmstream.storage.ledger import KeptAlert, changed, cursor_after, merged, place_of, to_text
from mmstream.storage.sqlite_file import connect, lock_for_writing
from mmstream.types import Alert

FILE_NAME = "ledger.db"


class SqliteStore:
    """Feeds, alerts and the event log in the SQLite file ``path``; see `storage.base` for the promises.

    Safe to call from several threads (they take turns). The file is readable by its owner only: feed URLs
    may hold passwords. The newest ``max_events`` lines of the event log are kept.

    Raises:
        StoreError: another process writes it; it is of a newer mmstream; or, for ``write=False``, it is not
            there yet.
    """

    def __init__(
        self, path: str | Path, *, write: bool = True, max_events: int = 100_000, busy_timeout_s: float = 5.0
    ) -> None:
        self._path = Path(path).absolute()
        self._write = write
        self._max_events = max_events
        self._turn = threading.Lock()
        self._lock_fd = lock_for_writing(self._path) if write else None
        try:
            if not write and not self._path.exists():
                raise StoreError(f"there is no {self._path} yet; start the site first with 'mmstream run'")
            self._connection = connect(self._path, write=write, busy_timeout_s=busy_timeout_s)
        except BaseException:
            self._unlock()
            raise

    @classmethod
    def from_site(cls, site: SiteConfig, *, write: bool) -> SqliteStore:
        return cls(site.site.data_dir / FILE_NAME, write=write)

    def close(self) -> None:
        with self._turn:
            self._connection.close()
            self._unlock()

    # --- feeds -------------------------------------------------------------------------------------------

    def feeds(self) -> Sequence[FeedRecord]:
        with self._reading() as db:
            return [_feed(row) for row in db.execute(f"{_FEEDS} ORDER BY feed_id")]

    def feed(self, feed_id: str) -> FeedRecord | None:
        with self._reading() as db:
            row = db.execute(f"{_FEEDS} AND feed_id = ?", (feed_id,)).fetchone()
        return _feed(row) if row else None

    def put_feed(self, feed_id: str, settings: Mapping[str, Any], *, paused: bool = False) -> FeedRecord:
        text = to_text(dict(settings))
        with self._writing() as db:
            row = db.execute("SELECT settings, revision, paused FROM feeds WHERE feed_id = ?", (feed_id,)).fetchone()
            revision = row[1] if row else 0
            if row is None or (row[0], bool(row[2])) != (text, paused):
                revision += 1
                db.execute("REPLACE INTO feeds VALUES (?, ?, ?, ?)", (feed_id, text, revision, paused))
        return FeedRecord(feed_id=feed_id, settings=json.loads(text), revision=revision, paused=paused)

    def remove_feed(self, feed_id: str) -> bool:
        with self._writing() as db:
            sql = "UPDATE feeds SET settings = NULL WHERE feed_id = ? AND settings IS NOT NULL"
            was_there = db.execute(sql, (feed_id,)).rowcount == 1
            db.execute("DELETE FROM statuses WHERE feed_id = ?", (feed_id,))
            db.execute("DELETE FROM trackers WHERE feed_id = ?", (feed_id,))
        return was_there

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        with self._reading() as db:
            return {feed_id: json.loads(status) for feed_id, status in db.execute("SELECT * FROM statuses")}

    def put_statuses(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        with self._writing() as db:
            db.executemany(
                "REPLACE INTO statuses SELECT feed_id, ? FROM feeds WHERE feed_id = ? AND settings IS NOT NULL",
                [(to_text(dict(status)), feed_id) for feed_id, status in statuses.items()],
            )

    # --- alerts ------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        with self._writing() as db:
            for alert in commit.alerts:
                self._keep(db, merged(alert, _kept(db, alert.alert_id)))
            if commit.tracker is not None:
                values = (commit.feed_id, to_text(dict(commit.tracker)))
                db.execute("REPLACE INTO trackers VALUES (?, ?)", values)

    def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None:
        with self._writing() as db:
            kept = _kept(db, alert_id)
            if kept is None:
                return None
            kept = changed(kept, changes)
            self._keep(db, kept)
        return kept.alert

    def _keep(self, db: sqlite3.Connection, kept: KeptAlert) -> None:
        alert = kept.alert
        place = (alert.alert_id, alert.feed_id, alert.start_s, alert.state, alert.severity)
        db.execute("REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?)", (*place, kept.to_text(), is_quiet(alert)))
        # without AUTOINCREMENT SQLite takes the largest + 1: no gaps, and the largest is never trimmed
        cursor = db.execute("INSERT INTO events (alert) VALUES (?)", (to_text(alert.to_json()),))
        db.execute("DELETE FROM events WHERE sequence <= ?", ((cursor.lastrowid or 0) - self._max_events,))

    def alerts(self, query: AlertQuery) -> AlertPage:
        conditions: dict[str, Any] = {
            "feed_id = ?": query.feed_id,
            "state = ?": query.state,
            "severity = ?": query.severity,
            "quiet = ?": query.quiet,
            "start_s >= ?": query.since_s,
            "start_s < ?": query.until_s,
        }
        wanted = {sql: value for sql, value in conditions.items() if value is not None}
        place, values = place_of(query), list(wanted.values())
        if place is not None:
            wanted["(start_s, alert_id) < (?, ?)"] = place
            values.extend(place)
        where = " AND ".join(wanted)
        sql = f"SELECT kept FROM alerts WHERE {where} ORDER BY start_s DESC, alert_id DESC LIMIT ?"
        with self._reading() as db:
            rows = db.execute(sql, (*values, query.limit + 1)).fetchall()
        alerts = [KeptAlert.from_text(row[0]).alert for row in rows[: query.limit]]
        return AlertPage(alerts=alerts, next_cursor=cursor_after(alerts[-1]) if len(rows) > query.limit else None)

    def alert(self, alert_id: str) -> Alert | None:
        with self._reading() as db:
            kept = _kept(db, alert_id)
        return kept.alert if kept else None

    def events_after(self, sequence: int, limit: int = 100) -> Sequence[AlertEvent]:
        sql = "SELECT sequence, alert FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
        with self._reading() as db:
            rows = db.execute(sql, (sequence, limit)).fetchall()
        return [AlertEvent(sequence=row[0], alert=Alert.from_json(json.loads(row[1]))) for row in rows]

    def last_sequence(self) -> int:
        with self._reading() as db:
            return int(db.execute("SELECT ifnull(max(sequence), 0) FROM events").fetchone()[0])

    # --- small things ------------------------------------------------------------------------------------

    def tracker(self, feed_id: str) -> Mapping[str, Any] | None:
        with self._reading() as db:
            row = db.execute("SELECT tracker FROM trackers WHERE feed_id = ?", (feed_id,)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def value(self, key: str) -> str | None:
        with self._reading() as db:
            row = db.execute("SELECT value FROM site_values WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def put_value(self, key: str, value: str) -> None:
        with self._writing() as db:
            db.execute("REPLACE INTO site_values VALUES (?, ?)", (key, value))

    # --- the file ----------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise StoreError(
                    f"cannot use {self._path}: {error}; 'mmstream doctor' checks disk and rights"
                ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self._write:
            raise StoreError(f"{self._path} was opened for reading; only the process that runs the site writes it")
        with self._reading() as db, db:  # the connection as context: commit, or roll back on any exception
            db.execute("BEGIN IMMEDIATE")
            yield db

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


_FEEDS = "SELECT feed_id, settings, revision, paused FROM feeds WHERE settings IS NOT NULL"


def _feed(row: tuple[str, str, int, int]) -> FeedRecord:
    return FeedRecord(feed_id=row[0], settings=json.loads(row[1]), revision=row[2], paused=bool(row[3]))


def _kept(db: sqlite3.Connection, alert_id: str) -> KeptAlert | None:
    row = db.execute("SELECT kept FROM alerts WHERE alert_id = ?", (alert_id,)).fetchone()
    return KeptAlert.from_text(row[0]) if row else None
