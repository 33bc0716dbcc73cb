"""Whatever is done to them, SQLite and Redis answer like forty lines of plain Python."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmstream.storage.base import AlertQuery, Commit
from mmstream.storage.redis import RedisStore
from mmstream.storage.sqlite import SqliteStore
from mmstream.types import Alert
from tests.storage.servers import make_alert

pytestmark = pytest.mark.redis
FEEDS = ("a", "b-1", "B_2")
MAX_EVENTS = 5
_SITES = itertools.count()


class Model:
    """What a store should know, without a store."""

    def __init__(self) -> None:
        self.feeds: dict[str, tuple[Mapping[str, Any], bool]] = {}
        self.revisions: dict[str, int] = {}
        self.statuses: dict[str, Mapping[str, Any]] = {}
        self.trackers: dict[str, Mapping[str, Any]] = {}
        self.kept: dict[str, Alert] = {}
        self.said: dict[str, dict[str, Any]] = {}
        self.events: list[Alert] = []

    def put_feed(self, feed_id: str, wanted: Mapping[str, Any], *, paused: bool) -> None:
        if self.feeds.get(feed_id) != (wanted, paused):
            self.feeds[feed_id] = (wanted, paused)
            self.revisions[feed_id] = self.revisions.get(feed_id, 0) + 1

    def remove_feed(self, feed_id: str) -> None:
        for kept in (self.feeds, self.statuses, self.trackers):
            kept.pop(feed_id, None)

    def put_statuses(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        self.statuses.update({feed_id: status for feed_id, status in statuses.items() if feed_id in self.feeds})

    def commit(self, commit: Commit) -> None:
        for alert in commit.alerts:
            old = self.kept.get(alert.alert_id)
            clip = alert.clip or (old.clip if old else "")
            self._keep(dataclasses.replace(alert, **{"clip": clip, **self.said.get(alert.alert_id, {})}))
        if commit.tracker is not None:
            self.trackers[commit.feed_id] = commit.tracker

    def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> None:
        if alert_id in self.kept:
            said = self.said.setdefault(alert_id, {})
            said.update({name: value for name, value in changes.items() if name != "clip"})
            if said.get("state") == "open":
                del said["state"]
            self._keep(dataclasses.replace(self.kept[alert_id], **changes))

    def _keep(self, alert: Alert) -> None:
        self.kept[alert.alert_id] = alert
        self.events.append(alert)

    def alerts(self, query: AlertQuery) -> list[Alert]:
        found = sorted(self.kept.values(), key=lambda alert: (alert.start_s, alert.alert_id), reverse=True)
        return [
            alert
            for alert in found
            if query.feed_id in (None, alert.feed_id)
            and query.state in (None, alert.state)
            and query.severity in (None, alert.severity)
            and (query.since_s is None or query.since_s <= alert.start_s)
            and (query.until_s is None or alert.start_s < query.until_s)
            and query.quiet == (alert.suppressed or alert.severity == "notice")
        ]


feeds = st.sampled_from(FEEDS)
states = st.sampled_from(["open", "acknowledged", "closed"])
starts_s = st.sampled_from([0.0, 0.001, 1.5, 1_700_000_000.123])
json_values = st.dictionaries(st.text(max_size=3), st.integers() | st.floats(allow_nan=False) | st.text(max_size=3))
alerts = st.builds(
    make_alert,
    feeds,
    starts_s,
    state=states,
    severity=st.sampled_from(["notice", "alert", "critical"]),
    suppressed=st.booleans(),
    surprise=st.floats(0, 9),
    clip=st.sampled_from(["", "1.mp4", "2.mp4"]),
    text=st.text(max_size=4),
)
changes = st.dictionaries(st.just("state"), states) | st.sampled_from(
    [{"verdict": "true"}, {"verdict": None}, {"note": ""}, {"note": "ä"}, {"clip": "3.mp4"}]
)
steps: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.just("put_feed"), feeds, st.sampled_from([{}, {"url": "1"}, {"url": "2"}]), st.booleans()),
    st.tuples(st.just("remove_feed"), feeds),
    st.tuples(st.just("put_statuses"), st.dictionaries(feeds, json_values)),
    st.tuples(
        st.just("commit"),
        st.builds(Commit, feed_id=feeds, alerts=st.lists(alerts, max_size=3), tracker=st.none() | json_values),
    ),
    st.tuples(st.just("update_alert"), st.builds(lambda f, s: make_alert(f, s).alert_id, feeds, starts_s), changes),
)
queries = st.builds(
    AlertQuery,
    feed_id=st.none() | feeds,
    state=st.none() | states,
    severity=st.none() | st.just("critical"),
    quiet=st.booleans(),
    since_s=st.none() | starts_s,
    until_s=st.none() | starts_s,
    limit=st.integers(1, 5),
)


def apply(target: Any, step: tuple[Any, ...]) -> None:
    match step:
        case ("put_feed", feed_id, wanted, paused):
            target.put_feed(feed_id, wanted, paused=paused)
        case (name, *arguments):
            getattr(target, name)(*arguments)


def pages(store: Any, query: AlertQuery) -> list[Alert]:
    page = store.alerts(query)
    if page.next_cursor is None:
        return list(page.alerts)
    return [*page.alerts, *pages(store, dataclasses.replace(query, cursor=page.next_cursor))]


def check(store: Any, model: Model, query: AlertQuery) -> None:
    wanted = [(name, *model.feeds[name], model.revisions[name]) for name in sorted(model.feeds)]
    assert [(feed.feed_id, feed.settings, feed.paused, feed.revision) for feed in store.feeds()] == wanted
    assert store.statuses() == model.statuses
    assert {name: store.tracker(name) for name in FEEDS} == {name: model.trackers.get(name) for name in FEEDS}
    assert pages(store, query) == model.alerts(query)
    log = list(enumerate(model.events, start=1))[-MAX_EVENTS:]
    assert [(event.sequence, event.alert) for event in store.events_after(0)] == log
    assert store.last_sequence() == len(model.events)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(steps, max_size=12), query=queries)
def test_both_stores_answer_like_the_model(
    redis_url: str, script: Sequence[tuple[Any, ...]], query: AlertQuery
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        opens: tuple[Callable[[], Any], ...] = (
            lambda: SqliteStore(Path(folder) / "ledger.db", max_events=MAX_EVENTS),
            lambda: RedisStore(redis_url, site=f"model {next(_SITES)}", max_events=MAX_EVENTS),
        )
        for open_one in opens:
            store, model = open_one(), Model()
            try:
                for step in script:
                    apply(store, step)
                    apply(model, step)
                check(store, model, query)
            finally:
                store.close()
