"""Whatever moment the fusion process is killed at, the ledger ends with the same alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmstream.config import BudgetSection, SiteConfig
from mmstream.fusing import FusionCore, Verdicts, verdicts_after
from mmstream.pipeline import LocalFuse
from mmstream.shard import EvidenceDone, FuseBatch
from mmstream.storage.base import AlertQuery
from mmstream.storage.sqlite import SqliteStore
from mmstream.testing import make_embedding, make_encoded
from mmstream.types import Channel, EncodedWindow
from tests.test_shard import DictMedia

CHANNELS = {"appearance": Channel(name="appearance", modality="picture")}
SITE = SiteConfig(budget=BudgetSection(alerts_per_camera_per_day=600, block_s=5, warmup_s=60))
EVENT = range(330, 338)
HISTORY_S = 300


def windows(seed: int) -> list[EncodedWindow]:
    random = np.random.default_rng(seed)
    made = []
    for second in range(400):
        vector = random.normal(0, 1, 4) + (25.0 if second in EVENT else 0.0)
        embedding = make_embedding(float(second), vector=vector.tolist())
        made.append(make_encoded(float(second), [embedding], history=second < HISTORY_S))
    return made


class Process:
    """The fusion actor's life: a core, its store, and the moments at which it may be killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.store = SqliteStore(folder / "ledger.db")
        self.media = DictMedia()
        self.clock_s = 0.0
        self.restart()

    def restart(self) -> None:
        self.core = FusionCore(
            SITE, channels=CHANNELS, media=self.media, tracker_of=self.store.tracker, now=lambda: self.clock_s
        )
        self.is_fresh = self.core.begin("cam")

    def push(self, items: Sequence[EncodedWindow], *, die: str = "") -> bool:
        """False when it was killed before it could answer."""
        reply, commits = self.core.push(FuseBatch(items=items))
        if die != "before the commit":
            for commit in commits:
                self.store.commit(commit)
        if die:
            self.restart()
            return False
        done = [EvidenceDone(feed_id=r.feed_id, alert_id=r.alert_id, final=r.final) for r in reply.wanted]
        for commit in self.core.push(FuseBatch(items=(), evidence=done))[1]:
            self.store.commit(commit)
        self.clock_s += len(items)
        self.core.snapshot_some()
        return True

    def alerts(self) -> list[tuple[str, str]]:
        for commit in self.core.finish():
            self.store.commit(commit)
        return [(alert.alert_id, alert.state) for alert in self.store.alerts(AlertQuery()).alerts]


def live_through(folder: Path, seed: int, deaths: dict[int, str]) -> list[tuple[str, str]]:
    folder.mkdir()
    process = Process(folder)
    made = windows(seed)
    for first in range(0, len(made), 4):
        items = made[first : first + 4]
        if not process.push(items, die=deaths.get(first, "")):
            assert process.push(items)
    try:
        return process.alerts()
    finally:
        process.store.close()


def test_an_event_is_one_alert_and_it_is_closed(tmp_path: Path) -> None:
    alerts = live_through(tmp_path / "run", 1, {})
    during = [alert for alert in alerts if 325_000 <= int(alert[0].split(":")[1]) <= 340_000]
    assert len(during) == 1
    assert during[0][1] == "closed"


MOMENTS = st.sampled_from([*range(HISTORY_S + 4, 398, 4)])
KINDS = st.sampled_from(["before the commit", "after the commit"])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.dictionaries(MOMENTS, KINDS, min_size=1, max_size=3))
def test_kill_9_at_any_moment_loses_no_event_and_doubles_none(tmp_path_factory: object, deaths: dict[int, str]) -> None:
    folder = tmp_path_factory.mktemp("life")  # type: ignore[attr-defined]
    alerts = live_through(folder / "run", 1, deaths)
    during = [alert for alert in alerts if 325_000 <= int(alert[0].split(":")[1]) <= 340_000]
    assert len(during) == 1, (deaths, alerts)
    assert all(state == "closed" for _, state in alerts)
    assert len({alert_id for alert_id, _ in alerts}) == len(alerts)


def test_history_that_was_cut_off_is_learned_anew_and_a_finished_one_is_not(tmp_path: Path) -> None:
    process = Process(tmp_path)
    made = windows(2)
    process.push(made[:100])
    process.core.snapshot_some(all_feeds=True)
    process.restart()
    assert process.is_fresh
    process.push(made[:HISTORY_S])
    process.push(made[HISTORY_S : HISTORY_S + 8])
    process.restart()
    assert not process.is_fresh
    process.store.close()


def test_a_released_feed_is_found_again_by_another_shard(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.push(windows(3)[: HISTORY_S + 20])
    process.core.release("cam")
    before = process.media.files["feeds/cam/learned.npz"]
    process.restart()
    assert not process.is_fresh
    process.core.snapshot_some(all_feeds=True)
    assert len(process.media.files["feeds/cam/learned.npz"]) == len(before)
    process.store.close()


def test_a_changed_budget_takes_effect_and_keeps_what_was_learned(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.push(windows(4)[: HISTORY_S + 8])
    before = process.core.summaries()["cam"]
    assert process.core.begin("cam", 60.0) is False
    after = process.core.summaries()["cam"]
    assert (before["budget_per_day"], after["budget_per_day"]) == (600, 60)
    assert (after["blocks"], after["windows_learned"]) == (before["blocks"], before["windows_learned"])
    process.core.begin("cam", None)
    assert process.core.summaries()["cam"]["budget_per_day"] == 600
    process.store.close()


def listen(process: Process) -> None:
    while True:
        verdicts = verdicts_after(process.store, process.core.heard_until())
        process.core.hear(verdicts)
        if verdicts.is_last:
            return


def closed_alert(process: Process, made: list[EncodedWindow]) -> str:
    for first in range(0, len(made), 4):
        process.push(made[first : first + 4])
    [alert_id] = [name for name, _ in process.alerts() if 325_000 <= int(name.split(":")[1]) <= 340_000]
    return alert_id


def test_a_verdict_in_the_ledger_is_heard_once(tmp_path: Path) -> None:
    process = Process(tmp_path)
    listen(process)
    alert_id = closed_alert(process, windows(1))
    listen(process)
    assert process.core.counters["verdicts"] == 0
    process.store.update_alert(alert_id, {"verdict": "false_alarm"})
    listen(process)
    listen(process)
    assert process.core.counters["verdicts"] == 1
    process.store.close()


def test_no_verdict_is_lost_over_a_restart_and_an_older_snapshot(tmp_path: Path) -> None:
    process = Process(tmp_path)
    listen(process)
    alert_id = closed_alert(process, windows(1))
    process.core.snapshot_some(all_feeds=True)
    older = dict(process.media.files)
    process.store.update_alert(alert_id, {"verdict": "false_alarm"})
    listen(process)
    process.restart()  # killed before the next snapshot is due: what was said is kept already
    listen(process)
    assert process.core.counters["verdicts"] == 0
    process.media.files |= older  # that of the verdict could not be written
    process.restart()
    listen(process)
    assert process.core.counters["verdicts"] == 1
    process.store.close()


def test_a_verdict_teaches_although_the_process_was_killed_between_the_alert_and_the_verdict(tmp_path: Path) -> None:
    """The windows of an alert are kept as soon as it is over, not with the snapshot of the next minute."""
    surprises: dict[str, float] = {}
    for verdict in ("unsure", "false_alarm"):
        process = Process(tmp_path / verdict)
        listen(process)
        made = windows(1)
        for first in range(0, 352, 4):
            process.push(made[first : first + 4])
        [alert] = [a for a in process.store.alerts(AlertQuery()).alerts if 325 <= a.start_s <= 340]
        assert alert.state == "closed"
        process.restart()
        process.store.update_alert(alert.alert_id, {"verdict": verdict})
        listen(process)
        told: list[float] = []
        process.core._on_judgement = lambda judged, told=told: told.append(judged.score.surprise)
        again = [
            make_encoded(360.0 + n, [make_embedding(360.0 + n, vector=made[n].embeddings[0].vector.tolist())])
            for n in EVENT
        ]
        process.push(again)
        surprises[verdict] = max(told)
        process.store.close()
    assert surprises["unsure"] > 2.0
    assert surprises["false_alarm"] < surprises["unsure"] - 0.5


def test_a_feed_that_comes_back_further_behind_hears_what_it_missed_and_the_others_nothing_twice(
    tmp_path: Path,
) -> None:
    process = Process(tmp_path)
    listen(process)
    alert_id = closed_alert(process, windows(1))
    process.core.begin("other")
    listen(process)
    process.core.release("cam")
    process.store.update_alert(alert_id, {"verdict": "true"})
    listen(process)
    assert process.core.counters["verdicts"] == 0
    asked = verdicts_after(process.store, process.core.heard_until())
    process.core.begin("cam")
    process.core.hear(asked)
    listen(process)
    assert process.core.counters["verdicts"] == 1
    process.store.close()


def test_a_log_that_was_started_anew_is_followed_from_its_end(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.core.hear(Verdicts(after=None, until=500))
    listen(process)
    assert process.core.heard_until() == process.store.last_sequence()
    process.store.close()


def test_in_one_process_a_verdict_is_heard_with_the_next_windows(tmp_path: Path) -> None:
    process = Process(tmp_path)
    fuse = LocalFuse(process.core, process.store, {})
    asyncio.run(fuse.push(FuseBatch(items=())))
    alert_id = closed_alert(process, windows(1))
    process.store.update_alert(alert_id, {"verdict": "true"})
    asyncio.run(LocalFuse(process.core, process.store, {}).push(FuseBatch(items=())))
    assert process.core.counters["verdicts"] == 1
    process.store.close()


def make_core(**budget: float) -> FusionCore:
    site = SiteConfig(budget=BudgetSection(block_s=5, warmup_s=60, **budget))
    return FusionCore(site, channels=CHANNELS, media=DictMedia(), tracker_of=lambda _: None, now=lambda: 0.0)


def watch(core: FusionCore, feed_id: str, seed: int, seconds: int) -> None:
    core.begin(feed_id)
    random = np.random.default_rng(seed)
    for second in range(seconds):
        embedding = make_embedding(float(second), vector=random.normal(size=4).tolist(), feed_id=feed_id)
        core.push(FuseBatch(items=[make_encoded(float(second), [embedding], feed_id=feed_id)]))


def test_the_first_threshold_of_a_new_feed_starts_from_what_the_others_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmstream.alerts.calibrate.TOLD_AFTER_S", 300.0)
    alone, among = make_core(), make_core()
    for number in range(3):
        watch(among, f"old-{number}", 40 + number, 600)
    for core in (alone, among):
        watch(core, "new", 50, 120)
    assert among.summaries()["new"]["threshold"] != alone.summaries()["new"]["threshold"]


def test_feeds_that_come_and_go_share_the_budget_of_the_site_without_starting_anew() -> None:
    core = make_core(alerts_per_day_for_site=600)
    core.begin("own", 50.0)
    for number in range(2):
        watch(core, f"cam-{number}", number, 100)
    before = core.summaries()
    core.share_budget(4)
    after = core.summaries()
    assert [after[name]["budget_per_day"] for name in ("own", "cam-0", "cam-1")] == [50.0, 150.0, 150.0]
    assert [after[name]["windows_learned"] for name in before] == [before[name]["windows_learned"] for name in before]
    watch(core, "late", 3, 10)
    assert core.summaries()["late"]["budget_per_day"] == 150.0
    core.share_budget(3)
    assert core.summaries()["cam-0"]["budget_per_day"] == 200.0
