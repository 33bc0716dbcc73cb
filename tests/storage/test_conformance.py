"""What every store in the STORES table promises (`mmstream.storage.base`)."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading

import pytest

from mmstream.errors import StoreError
from mmstream.storage.base import AlertQuery, Commit, Store, is_quiet
from mmstream.types import Alert, alert_id
from tests.storage.conftest import OpenStore
from tests.storage.servers import make_alert

START_S = 1_700_000_000.0


def commit(store: Store, *alerts: Alert) -> None:
    store.commit(Commit(feed_id=alerts[0].feed_id, alerts=alerts))


def ids(alerts: object) -> list[str]:
    return [alert.alert_id for alert in alerts]  # type: ignore[attr-defined]


def all_pages(store: Store, query: AlertQuery) -> list[str]:
    found: list[str] = []
    while True:
        page = store.alerts(query)
        assert len(page.alerts) <= query.limit
        found += ids(page.alerts)
        if page.next_cursor is None:
            return found
        query = dataclasses.replace(query, cursor=page.next_cursor)


# --- feeds and statuses ------------------------------------------------------------------------------------


def test_a_new_store_is_empty(store: Store) -> None:
    assert (list(store.feeds()), dict(store.statuses()), store.last_sequence()) == ([], {}, 0)
    assert (store.feed("a"), store.alert("a:1"), store.tracker("a"), store.value("k")) == (None, None, None, None)
    assert store.alerts(AlertQuery()).next_cursor is None
    assert list(store.events_after(0)) == []


def test_a_feed_comes_back_as_it_was_put_with_its_secret_unresolved(store: Store) -> None:
    settings = {"id": "gate-1", "url": "rtsp://guard:${GATE}@10.0.0.7/1", "history": ["a.mp4"], "live": None}
    record = store.put_feed("gate-1", settings)
    assert (record.feed_id, record.settings, record.revision, record.paused) == ("gate-1", settings, 1, False)
    assert store.feed("gate-1") == record
    assert list(store.feeds()) == [record]


def test_the_revision_grows_with_every_change_and_only_then(store: Store) -> None:
    assert store.put_feed("a", {"url": "1"}).revision == 1
    assert store.put_feed("a", {"url": "1"}).revision == 1
    assert store.put_feed("a", {"url": "1"}, paused=True).revision == 2
    assert store.put_feed("a", {"url": "2"}, paused=True).revision == 3
    assert store.put_feed("b", {"url": "2"}).revision == 1
    record = store.feed("a")
    assert record is not None
    assert (record.revision, record.paused, record.settings) == (3, True, {"url": "2"})


def test_a_feed_that_comes_back_under_its_old_name_has_a_revision_never_seen_before(store: Store) -> None:
    store.put_feed("a", {"url": "old camera"})
    store.remove_feed("a")
    assert store.put_feed("a", {"url": "old camera"}).revision == 2


def test_a_removed_feed_takes_its_status_and_tracker_along_and_leaves_its_alerts(store: Store) -> None:
    store.put_feed("gate-1", {"url": "1"})
    store.put_statuses({"gate-1": {"state": "live"}})
    store.commit(Commit(feed_id="gate-1", alerts=[make_alert()], tracker={"open": True}))
    assert store.remove_feed("gate-1")
    assert not store.remove_feed("gate-1")
    assert (store.feed("gate-1"), dict(store.statuses()), store.tracker("gate-1")) == (None, {}, None)
    assert store.alert(make_alert().alert_id) == make_alert()


def test_feeds_are_listed_by_id(store: Store) -> None:
    for feed_id in ("c", "a", "b"):
        store.put_feed(feed_id, {})
    assert [record.feed_id for record in store.feeds()] == ["a", "b", "c"]


def test_only_the_latest_status_is_kept_and_none_of_a_feed_that_is_gone(store: Store) -> None:
    store.put_feed("a", {})
    store.put_feed("b", {})
    store.put_statuses({"a": {"state": "connecting"}, "b": {"state": "live"}, "gone": {"state": "live"}})
    store.put_statuses({"a": {"state": "live", "sentence": "gut – 5 fps"}})
    assert store.statuses() == {"a": {"state": "live", "sentence": "gut – 5 fps"}, "b": {"state": "live"}}
    store.put_statuses({})


# --- commits -----------------------------------------------------------------------------------------------


def test_a_commit_keeps_alerts_tracker_and_events(store: Store) -> None:
    first, second = make_alert(start_s=START_S), make_alert(start_s=START_S + 400.125, severity="critical")
    store.commit(Commit(feed_id="gate-1", alerts=[first, second], tracker={"state": "ALERT", "n": [1, 2.5]}))
    assert (store.alert(first.alert_id), store.alert(second.alert_id)) == (first, second)
    assert store.tracker("gate-1") == {"state": "ALERT", "n": [1, 2.5]}
    assert [(event.sequence, event.alert) for event in store.events_after(0)] == [(1, first), (2, second)]


def test_a_commit_without_a_tracker_leaves_the_one_that_is_kept(store: Store) -> None:
    store.commit(Commit(feed_id="gate-1", tracker={"step": 1}))
    store.commit(Commit(feed_id="gate-1", alerts=[make_alert()]))
    store.commit(Commit(feed_id="gate-1"))
    assert store.tracker("gate-1") == {"step": 1}


def test_the_same_alert_again_overwrites_it_and_is_one_more_event(store: Store) -> None:
    commit(store, make_alert(surprise=3.0))
    commit(store, make_alert(surprise=5.0, state="closed"))
    assert [alert.surprise for alert in store.alerts(AlertQuery()).alerts] == [5.0]
    assert [event.alert.surprise for event in store.events_after(0)] == [3.0, 5.0]


def test_an_alert_twice_in_one_commit_ends_as_the_later(store: Store) -> None:
    commit(store, make_alert(surprise=3.0, clip="c.mp4"), make_alert(surprise=5.0, state="closed"))
    kept = store.alert(make_alert().alert_id)
    assert kept == make_alert(surprise=5.0, state="closed", clip="c.mp4")
    assert ids(store.alerts(AlertQuery(state="open")).alerts) == []


def test_an_alert_that_fusion_closed_is_open_again_when_fusion_says_so(store: Store) -> None:
    commit(store, make_alert(state="closed"))
    commit(store, make_alert(state="open"))
    assert ids(store.alerts(AlertQuery(state="open")).alerts) == [make_alert().alert_id]


@pytest.mark.parametrize("state", ["acknowledged", "closed"])
def test_what_an_operator_said_outlives_what_fusion_writes_later(store: Store, state: str) -> None:
    commit(store, make_alert())
    store.update_alert(make_alert().alert_id, {"state": state, "verdict": "false_alarm", "note": "a cat"})
    commit(store, make_alert(surprise=9.0, end_s=START_S + 60, sentence="louder"))
    kept = store.alert(make_alert().alert_id)
    assert kept == make_alert(
        surprise=9.0, end_s=START_S + 60, sentence="louder", state=state, verdict="false_alarm", note="a cat"
    )
    assert store.events_after(0)[-1].alert == kept


def test_an_alert_that_an_operator_opened_again_can_be_closed_by_fusion(store: Store) -> None:
    commit(store, make_alert())
    store.update_alert(make_alert().alert_id, {"state": "acknowledged"})
    store.update_alert(make_alert().alert_id, {"state": "open"})
    commit(store, make_alert(state="closed"))
    kept = store.alert(make_alert().alert_id)
    assert kept is not None
    assert kept.state == "closed"


@pytest.mark.parametrize("name", ["clip", "thumbnail", "spectrogram", "narration", "narrated_by"])
def test_evidence_stays_until_better_evidence_comes(store: Store, name: str) -> None:
    commit(store, make_alert())
    store.update_alert(make_alert().alert_id, {name: "first"})
    commit(store, make_alert(surprise=9.0))
    assert getattr(store.alert(make_alert().alert_id), name) == "first"
    commit(store, make_alert(**{name: "second"}))
    assert getattr(store.alert(make_alert().alert_id), name) == "second"


# --- operator's changes ------------------------------------------------------------------------------------


def test_update_answers_the_new_alert_and_logs_it(store: Store) -> None:
    commit(store, make_alert())
    changed = store.update_alert(make_alert().alert_id, {"state": "closed", "verdict": "true"})
    assert changed == make_alert(state="closed", verdict="true") == store.alert(make_alert().alert_id)
    assert [event.alert.state for event in store.events_after(0)] == ["open", "closed"]


def test_update_of_an_unknown_alert_answers_none_and_logs_nothing(store: Store) -> None:
    assert store.update_alert("nobody:1", {"state": "closed"}) is None
    assert store.last_sequence() == 0


@pytest.mark.parametrize("changes", [{"surprise": 0.0}, {"state": "gone"}, {"verdict": "maybe"}, {"note": None}])
def test_update_refuses_what_nobody_may_change(store: Store, changes: dict[str, object]) -> None:
    commit(store, make_alert())
    with pytest.raises(StoreError, match=next(iter(changes))):
        store.update_alert(make_alert().alert_id, changes)
    assert store.alert(make_alert().alert_id) == make_alert()
    assert store.last_sequence() == 1


# --- queries -----------------------------------------------------------------------------------------------


def test_alerts_come_newest_first_and_filters_combine(store: Store) -> None:
    for number in range(6):
        for feed_id in ("a", "b"):
            state = "open" if number % 2 else "closed"
            severity = "critical" if number == 5 else "alert"
            commit(store, make_alert(feed_id, START_S + number, state=state, severity=severity))

    def found(**filters: object) -> list[tuple[str, float]]:
        page = store.alerts(AlertQuery(**filters))  # type: ignore[arg-type]
        return [(alert.feed_id, alert.start_s - START_S) for alert in page.alerts]

    assert found() == [(feed_id, float(number)) for number in range(5, -1, -1) for feed_id in "ba"]
    assert found(feed_id="a") == [("a", float(number)) for number in range(5, -1, -1)]
    assert found(feed_id="a", state="open") == [("a", 5.0), ("a", 3.0), ("a", 1.0)]
    assert found(state="open", severity="alert", feed_id="b") == [("b", 3.0), ("b", 1.0)]
    assert found(severity="critical") == [("b", 5.0), ("a", 5.0)]
    assert found(feed_id="a", since_s=START_S + 2, until_s=START_S + 4) == [("a", 3.0), ("a", 2.0)]
    assert found(feed_id="nobody") == found(feed_id="*") == found(feed_id="") == []


def test_what_was_told_to_nobody_is_listed_only_when_asked_for(store: Store) -> None:
    told, beyond = make_alert("a", START_S), make_alert("b", START_S + 1, suppressed=True)
    notice = make_alert("c", START_S + 2, severity="notice", state="closed")
    for alert in (told, beyond, notice):
        commit(store, alert)
    assert ids(store.alerts(AlertQuery()).alerts) == [told.alert_id]
    assert ids(store.alerts(AlertQuery(quiet=True)).alerts) == [notice.alert_id, beyond.alert_id]
    assert ids(store.alerts(AlertQuery(quiet=True, severity="notice")).alerts) == [notice.alert_id]
    assert ids(store.alerts(AlertQuery(quiet=True, feed_id="b", state="open")).alerts) == [beyond.alert_id]
    assert ids(store.alerts(AlertQuery(severity="notice")).alerts) == []
    assert [is_quiet(event.alert) for event in store.events_after(0)] == [False, True, True]


def test_a_suppressed_alert_that_is_told_after_all_changes_lists(store: Store) -> None:
    commit(store, make_alert(suppressed=True))
    commit(store, make_alert(severity="critical"))
    assert ids(store.alerts(AlertQuery()).alerts) == [make_alert().alert_id]
    assert ids(store.alerts(AlertQuery(quiet=True)).alerts) == []


def test_an_alert_leaves_the_list_of_its_old_state(store: Store) -> None:
    commit(store, make_alert())
    store.update_alert(make_alert().alert_id, {"state": "acknowledged"})
    assert ids(store.alerts(AlertQuery(state="open")).alerts) == []
    assert ids(store.alerts(AlertQuery(state="acknowledged")).alerts) == [make_alert().alert_id]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_cover_everything_once_even_when_many_alerts_share_a_moment(store: Store, limit: int) -> None:
    starts_s = [START_S, START_S, START_S, START_S, START_S + 0.001, START_S + 2, START_S + 2]
    for number, start_s in enumerate(starts_s):
        commit(store, make_alert(f"f{number}", start_s))
    found = all_pages(store, AlertQuery(limit=limit))
    assert found == [alert_id(f"f{number}", starts_s[number]) for number in (6, 5, 4, 3, 2, 1, 0)]


def test_the_next_page_stays_where_it_was_while_new_alerts_come_in(store: Store) -> None:
    for number in range(4):
        commit(store, make_alert("a", START_S + number))
    first = store.alerts(AlertQuery(limit=2))
    commit(store, make_alert("a", START_S + 100))
    store.update_alert(alert_id("a", START_S + 3), {"state": "closed"})
    second = store.alerts(AlertQuery(limit=2, cursor=first.next_cursor))
    assert ids(second.alerts) == [alert_id("a", START_S + 1), alert_id("a", START_S)]
    assert second.next_cursor is None


def test_a_page_can_follow_an_alert_that_has_left_the_filter(store: Store) -> None:
    for number in range(4):
        commit(store, make_alert(f"f{number}", START_S))
    first = store.alerts(AlertQuery(limit=2, state="open"))
    store.update_alert(first.alerts[-1].alert_id, {"state": "closed"})
    second = store.alerts(AlertQuery(limit=2, state="open", cursor=first.next_cursor))
    assert ids(second.alerts) == [alert_id("f1", START_S), alert_id("f0", START_S)]


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["", "nonsense", "ünï", "[1,2]", forged([1, "a"]), forged([1.0]), forged({"a": 1}), forged([float("inf"), "a"])],
)
def test_a_cursor_from_elsewhere_is_refused(store: Store, cursor: str) -> None:
    commit(store, make_alert())
    with pytest.raises(StoreError, match="cursor"):
        store.alerts(AlertQuery(cursor=cursor))


def test_a_page_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="limit"):
        store.alerts(AlertQuery(limit=0))


# --- event log ---------------------------------------------------------------------------------------------


def test_a_listener_resumes_after_the_last_event_it_saw(store: Store) -> None:
    for number in range(5):
        commit(store, make_alert("a", START_S + number))
    assert [event.sequence for event in store.events_after(0, limit=2)] == [1, 2]
    assert [event.sequence for event in store.events_after(2)] == [3, 4, 5]
    assert list(store.events_after(5)) == []
    assert list(store.events_after(99)) == []
    assert store.last_sequence() == 5


def test_the_event_log_forgets_the_oldest_and_goes_on_counting(open_one: OpenStore) -> None:
    store = open_one(max_events=3)
    for number in range(8):
        commit(store, make_alert("a", START_S + number))
    assert [event.sequence for event in store.events_after(0)] == [6, 7, 8]
    store.close()
    again = open_one(max_events=3)
    commit(again, make_alert("a", START_S + 9))
    assert [event.sequence for event in again.events_after(0)] == [7, 8, 9]
    assert again.last_sequence() == 9


def test_writers_in_many_threads_leave_no_gap_and_lose_nothing(store: Store) -> None:
    commit(store, make_alert("shared"))

    def work(name: str) -> None:
        for number in range(20):
            store.commit(Commit(feed_id=name, alerts=[make_alert(name, START_S + number)], tracker={"n": number}))
            store.update_alert(make_alert("shared").alert_id, {"note": f"{name} {number}"})

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.sequence for event in store.events_after(0, limit=1000)] == list(range(1, 162))
    assert len(all_pages(store, AlertQuery())) == 81
    assert [store.tracker(f"t{number}") for number in range(4)] == [{"n": 19}] * 4


# --- the place ---------------------------------------------------------------------------------------------


def test_everything_is_there_after_closing_and_opening(open_one: OpenStore) -> None:
    store = open_one()
    store.put_feed("a", {"url": "1"})
    store.put_value("started_at", "2026-01-01T00:00:00Z")
    store.commit(Commit(feed_id="a", alerts=[make_alert("a")], tracker={"n": 1}))
    store.close()
    again = open_one(write=False)
    assert [record.feed_id for record in again.feeds()] == ["a"]
    assert again.value("started_at") == "2026-01-01T00:00:00Z"
    assert (again.alert(make_alert("a").alert_id), again.tracker("a")) == (make_alert("a"), {"n": 1})


def test_a_reader_sees_what_the_writer_acknowledged(open_one: OpenStore) -> None:
    writer, reader = open_one(), open_one(write=False)
    for number in range(3):
        commit(writer, make_alert("a", START_S + number))
        assert reader.last_sequence() == number + 1


def test_a_store_opened_for_reading_refuses_every_change(open_one: OpenStore) -> None:
    writer = open_one()
    commit(writer, make_alert())
    reader = open_one(write=False)
    for change in (
        lambda: reader.put_feed("a", {}),
        lambda: reader.remove_feed("a"),
        lambda: reader.put_statuses({}),
        lambda: reader.commit(Commit(feed_id="a")),
        lambda: reader.update_alert(make_alert().alert_id, {"note": "x"}),
        lambda: reader.put_value("k", "v"),
    ):
        with pytest.raises(StoreError, match="reading"):
            change()


def test_values_are_overwritten(store: Store) -> None:
    store.put_value("k", "1")
    store.put_value("k", "2")
    assert store.value("k") == "2"
