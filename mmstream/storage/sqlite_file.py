"""The file of the SQLite store: one writer, a schema that grows by numbered steps, rights for its owner only."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from mmstream.errors import StoreError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE feeds (feed_id TEXT PRIMARY KEY, settings TEXT, revision INTEGER NOT NULL, paused INTEGER NOT NULL);
    CREATE TABLE statuses (feed_id TEXT PRIMARY KEY, status TEXT NOT NULL);
    CREATE TABLE trackers (feed_id TEXT PRIMARY KEY, tracker TEXT NOT NULL);
    CREATE TABLE site_values (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE events (sequence INTEGER PRIMARY KEY, alert TEXT NOT NULL);
    CREATE TABLE alerts (alert_id TEXT PRIMARY KEY, feed_id TEXT NOT NULL, start_s REAL NOT NULL,
                         state TEXT NOT NULL, severity TEXT NOT NULL, kept TEXT NOT NULL);
    CREATE INDEX alerts_newest ON alerts (start_s, alert_id);
    CREATE INDEX alerts_of_feed ON alerts (feed_id, start_s, alert_id);
    CREATE INDEX alerts_of_feed_by_state ON alerts (feed_id, state, start_s, alert_id);
    CREATE INDEX alerts_by_state ON alerts (state, start_s, alert_id);
    CREATE INDEX alerts_by_severity ON alerts (severity, start_s, alert_id);
    """,
    """
    ALTER TABLE alerts ADD COLUMN quiet INTEGER NOT NULL DEFAULT 0;
    DROP INDEX alerts_newest;
    DROP INDEX alerts_of_feed;
    DROP INDEX alerts_of_feed_by_state;
    DROP INDEX alerts_by_state;
    DROP INDEX alerts_by_severity;
    CREATE INDEX alerts_newest ON alerts (quiet, start_s, alert_id);
    CREATE INDEX alerts_of_feed ON alerts (quiet, feed_id, start_s, alert_id);
    CREATE INDEX alerts_of_feed_by_state ON alerts (quiet, feed_id, state, start_s, alert_id);
    CREATE INDEX alerts_by_state ON alerts (quiet, state, start_s, alert_id);
    CREATE INDEX alerts_by_severity ON alerts (quiet, severity, start_s, alert_id);
    """,
)
"""Script n takes a database from ``user_version`` n to n + 1. Never edit one that was released: append.
A removed feed stays in ``feeds`` without settings, so that its revisions go on growing if it comes back."""


def lock_for_writing(path: Path) -> int:
    """Take the lock file beside ``path``; the kernel gives it back however the process ends."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot write in {path.parent}: {error.strerror}; give site.data_dir another folder"
        ) from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock_fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock_fd)
        raise StoreError(
            f"{path} is being written by another process (id {holder}, lock {lock}); stop that one, or give this "
            f"site its own site.data_dir, or share a store through store.url: redis://HOST:PORT/DB"
        ) from error
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    return lock_fd


def connect(path: Path, *, write: bool, busy_timeout_s: float) -> sqlite3.Connection:
    try:
        if write:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)  # SQLite gives -wal and -shm the rights of the database
        uri = f"{path.as_uri()}?mode={'rw' if write else 'ro'}"
        db = sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot open {path}: {error}; check the folder's rights") from error
    try:
        if write:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            _migrate(db)
        _check_version(db, path)
    except sqlite3.Error as error:
        db.close()
        raise StoreError(f"{path} is not a usable database: {error}; move it away to start afresh") from error
    except StoreError:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection) -> None:
    """Each step is one transaction: a process that dies in it leaves the version before."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version, ours = db.execute("PRAGMA user_version").fetchone()[0], len(MIGRATIONS)
    if version > ours:
        raise StoreError(f"{path} has schema {version}, this mmstream knows up to {ours}; install the newer mmstream")
    if version < ours:
        raise StoreError(f"{path} has schema {version}, this mmstream wants {ours}; start 'mmstream run' once")
