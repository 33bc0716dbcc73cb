"""The SQLite store's own promises: one writer, rights, schema, and what a killed process leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mmstream.errors import StoreError
from mmstream.storage import sqlite_file
from mmstream.storage.base import AlertQuery, Commit
from mmstream.storage.ledger import KeptAlert
from mmstream.storage.sqlite import SqliteStore
from tests.storage.servers import make_alert

COMMIT_FOR_EVER = """
import itertools, sys
from mmstream.storage.base import Commit
from mmstream.storage.sqlite import SqliteStore
from tests.storage.servers import make_alert
store = SqliteStore(sys.argv[1])
print("open", flush=True)
for n in itertools.count(store.last_sequence() // 2):
    pair = [make_alert("a", float(n)), make_alert("b", float(n))]
    store.commit(Commit(feed_id="a", alerts=pair, tracker={"n": n}))
    print(n, flush=True)
"""


def run_child(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", COMMIT_FOR_EVER, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_writer_killed_in_the_middle_of_commits_loses_nothing_it_acknowledged_and_halves_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    acknowledged = -1
    for kill_after in (1, 23, 60):
        with run_child(path) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            for _ in range(kill_after):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            acknowledged = int(([str(acknowledged), *child.stdout.read().split()])[-1])
        store = SqliteStore(path)
        events = store.events_after(0, limit=100_000)
        tracker = store.tracker("a")
        alerts = store.alerts(AlertQuery(limit=100_000)).alerts
        store.close()
        assert tracker is not None
        assert tracker["n"] in (acknowledged, acknowledged + 1)  # the last may be done and not yet reported
        assert [event.sequence for event in events] == list(range(1, 2 * (tracker["n"] + 1) + 1))
        assert len(alerts) == len(events)


def test_a_second_writer_is_told_which_file_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with run_child(path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=r"ledger\.db .*site\.data_dir") as caught:
            SqliteStore(path)
        assert str(child.pid) in caught.value.sentence
        child.kill()
    SqliteStore(path).close()


def test_a_second_writer_in_the_same_process_is_refused_too_and_the_first_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    with pytest.raises(StoreError, match="another process"):
        SqliteStore(tmp_path / "ledger.db")
    store.put_value("k", "v")
    assert store.value("k") == "v"
    store.close()
    SqliteStore(tmp_path / "ledger.db").close()


def test_a_reader_of_a_site_that_never_ran_is_told_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="mmstream run"):
        SqliteStore(tmp_path / "ledger.db", write=False)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_a_file_that_is_only_just_being_made_is_told_to_start_it(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with pytest.raises(StoreError, match="mmstream run"):
        SqliteStore(tmp_path / "ledger.db", write=False)


def test_many_readers_go_on_while_the_writer_is_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    writer = SqliteStore(tmp_path / "ledger.db")
    writer.put_value("k", "old")
    readers = [SqliteStore(tmp_path / "ledger.db", write=False, busy_timeout_s=0.0) for _ in range(3)]
    with writer._writing() as db:
        db.execute("UPDATE site_values SET value = 'new'")
        assert [reader.value("k") for reader in readers] == ["old"] * 3
    assert [reader.value("k") for reader in readers] == ["new"] * 3
    for store in (writer, *readers):
        store.close()


def test_a_commit_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    with pytest.raises(TypeError):
        store.commit(Commit(feed_id="a", alerts=[make_alert("a")], tracker={"not JSON": object()}))
    assert (store.last_sequence(), store.alert(make_alert("a").alert_id)) == (0, None)
    store.commit(Commit(feed_id="a", alerts=[make_alert("a")]))
    assert store.last_sequence() == 1
    store.close()


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch(mode=0o644)
    store = SqliteStore(path)
    store.put_feed("a", {"url": "rtsp://guard:secret@10.0.0.7/1"})
    rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    store.close()
    assert rights == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600, "ledger.db.lock": 0o600}


@pytest.mark.parametrize("write", [True, False])
def test_a_file_of_a_newer_mmstream_is_left_alone(tmp_path: Path, write: bool) -> None:
    SqliteStore(tmp_path / "ledger.db").close()
    db = sqlite3.connect(tmp_path / "ledger.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"schema 99.*newer"):
        SqliteStore(tmp_path / "ledger.db", write=write)


def test_a_migration_that_fails_leaves_the_version_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    store.put_value("k", "v")
    store.close()
    steps = sqlite_file.MIGRATIONS
    broken = "ALTER TABLE site_values ADD COLUMN extra TEXT; CREATE TABLE feeds (already_there TEXT);"
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*steps, broken))
    with pytest.raises(StoreError, match="already exists"):
        SqliteStore(tmp_path / "ledger.db")
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*steps, "CREATE TABLE more (key TEXT);"))
    with pytest.raises(StoreError, match="mmstream run"):
        SqliteStore(tmp_path / "ledger.db", write=False)
    store = SqliteStore(tmp_path / "ledger.db")
    assert store.value("k") == "v"
    store.close()


def test_a_file_from_before_quiet_alerts_shows_its_alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = sqlite_file.MIGRATIONS
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", steps[:1])
    old = SqliteStore(tmp_path / "ledger.db")
    alert = make_alert("a")
    row = (alert.alert_id, "a", alert.start_s, "open", "alert", KeptAlert(alert=alert).to_text())
    with old._writing() as db:
        db.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?)", row)
    old.close()
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", steps)
    new = SqliteStore(tmp_path / "ledger.db")
    assert list(new.alerts(AlertQuery()).alerts) == [alert]
    assert list(new.alerts(AlertQuery(quiet=True)).alerts) == []
    new.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"ledger\.db is not a usable database"):
        SqliteStore(tmp_path / "ledger.db")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"data_dir"):
        SqliteStore(tmp_path / "file" / "ledger.db")


def test_use_after_closing_is_a_store_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    store.close()
    store.close()
    with pytest.raises(StoreError, match=r"ledger\.db"):
        store.feeds()


def test_every_filter_is_answered_by_an_index(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    with store._reading() as db:
        for condition in (
            "quiet = 0",
            "quiet = 0 AND feed_id = 'a'",
            "quiet = 1 AND feed_id = 'a' AND state = 'open'",
            "quiet = 0 AND state = 'open'",
            "quiet = 1 AND severity = 'critical'",
        ):
            sql = f"SELECT kept FROM alerts WHERE {condition} AND (start_s, alert_id) < (5.0, 'a') "
            plan = db.execute(f"EXPLAIN QUERY PLAN {sql} ORDER BY start_s DESC, alert_id DESC LIMIT 3").fetchall()
            steps = " ".join(row[3] for row in plan)
            assert "INDEX" in steps, condition
            assert steps.count("=?") == condition.count("="), steps
            assert "TEMP B-TREE" not in steps, condition
    store.close()
