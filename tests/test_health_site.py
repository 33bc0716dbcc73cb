"""A tampered camera on the whole path: one alert about the camera itself, none about what it shows meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmstream.analysis import FeedAnalyzer
from mmstream.config import BudgetSection, ClipSection, EncoderSection, FeedConfig, SiteConfig, SiteSection
from mmstream.feed import FeedRunner
from mmstream.normality.memory import Memory
from mmstream.normality.scenes import Scenes
from mmstream.pipeline import LocalSite
from mmstream.storage.base import AlertQuery
from mmstream.storage.media import FolderMediaStore
from mmstream.storage.sqlite import SqliteStore
from mmstream.testing import make_embedding, make_encoded
from mmstream.types import AlignedWindow, Channel, Condition
from tests.alerts.test_health import FAULTS, make_condition
from tests.tampered import film

CHANNELS = {"appearance": Channel(name="appearance", modality="picture")}


def test_a_covered_camera_is_one_closed_health_alert_in_the_ledger(tmp_path: Path) -> None:
    path = film(tmp_path / "gate.mp4", [("covered", 60.0, 80.0)], seconds=100.0)
    site = SiteConfig(
        site=SiteSection(data_dir=tmp_path),
        encoders=EncoderSection(edge=("motion", "appearance"), replicas=()),
        budget=BudgetSection(alerts_per_camera_per_day=96, block_s=15, warmup_s=60),
        feeds=(FeedConfig(id="gate", url=str(path), live=False),),
    )
    store = SqliteStore(tmp_path / "ledger.db")
    asyncio.run(LocalSite(site, store=store, media=FolderMediaStore(tmp_path / "media")).run())
    alerts = [alert for alert in store.alerts(AlertQuery()).alerts if alert.kind == "health"]
    assert [(alert.cause, alert.state) for alert in alerts] == [("covered", "closed")]
    assert 60.0 <= alerts[0].start_s <= 66.0
    assert 78.0 <= alerts[0].end_s <= 83.0
    status = store.statuses()["gate"]["analysis"]
    assert status["faults"] == []


class SetClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


def poll(ready: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < until_s, "waited 20 s in vain"
        time.sleep(0.02)


def test_a_camera_that_cannot_be_reached_tells_for_how_long_it_has_been_silent(tmp_path: Path) -> None:
    clock = SetClock()
    feed = FeedConfig(id="gate", url="rtsp://127.0.0.1:1/none")
    runner = FeedRunner(feed, SiteConfig(site=SiteSection(data_dir=tmp_path)), inputs={}, now=clock)
    runner.start()
    try:
        poll(lambda: runner.status()["state"] != "connecting")
        assert runner.take(10) == []
        silent = []
        for _ in range(5):
            clock.now_s += 3.0
            silent += [item.silent_s for item in runner.take(10) if isinstance(item, Condition)]
        assert silent == [6.0, 9.0, 12.0, 15.0]
    finally:
        runner.stop()


def test_a_recording_is_never_silent(tmp_path: Path) -> None:
    clock = SetClock()
    feed = FeedConfig(id="gate", url=str(tmp_path / "missing.mp4"))
    runner = FeedRunner(feed, SiteConfig(site=SiteSection(data_dir=tmp_path)), inputs={}, now=clock)
    runner.start()
    poll(lambda: runner.status()["state"] == "failed")
    clock.now_s += 60.0
    assert runner.take(10) == []
    runner.stop()


def taught_memory(level: float) -> Memory:
    memory = Memory(CHANNELS)
    for second in range(80):
        embedding = make_embedding(float(second), vector=[level, second % 7])
        window = AlignedWindow(feed_id="cam", start_s=float(second), end_s=second + 2.0, embeddings=(embedding,))
        memory.keep(memory.weigh(window).lesson, hold=False)
    return memory


def test_what_was_learned_of_a_view_comes_back_with_it_and_survives_a_snapshot() -> None:
    scenes = Scenes(CHANNELS)
    first = taught_memory(1.0)
    second = scenes.swap(first, left=0, entered=1, known={0, 1})
    assert second.num_learned == 0
    kept = Scenes(CHANNELS)
    kept.load(scenes.state())
    again = kept.swap(second, left=1, entered=0, known={0, 1})
    assert again.num_learned == first.num_learned > 50


@pytest.mark.parametrize("known", [frozenset({1}), frozenset({1, 2})])
def test_a_view_that_is_forgotten_takes_what_was_learned_with_it(known: frozenset[int]) -> None:
    scenes = Scenes(CHANNELS)
    scenes.swap(taught_memory(1.0), left=0, entered=1, known=known)
    assert scenes.state() == {}


def make_analyzer() -> FeedAnalyzer:
    return FeedAnalyzer(
        "gate", channels=CHANNELS, budget=BudgetSection(warmup_s=60), max_wait_s=1.0, clips=ClipSection()
    )


def live(analyzer: FeedAnalyzer, first_s: int, seconds: int, **measured: Any) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for end_s in range(first_s, first_s + seconds):
        told += [(alert.cause, alert.state) for alert in analyzer.check(make_condition(float(end_s), **measured))]
        embedding = make_embedding(end_s - 2.0, vector=[1.0, end_s % 7], feed_id="gate")
        analyzer.push(make_encoded(end_s - 2.0, [embedding], feed_id="gate"))
    return told


def test_nothing_is_learned_from_a_covered_camera() -> None:
    analyzer = make_analyzer()
    assert live(analyzer, 2, 120) == []
    assert live(analyzer, 122, 20, **FAULTS["covered"]) == [("covered", "open")]
    assert analyzer.summary()["faults"] == ["covered"]
    rows = analyzer.summary()["bank_rows"]
    live(analyzer, 142, 60, **FAULTS["covered"])
    assert analyzer.summary()["bank_rows"] == rows
    assert [request.alert_id for request in analyzer.evidence_wanted()] == ["gate:121000-covered"]


def test_a_moved_camera_learns_anew_and_gets_back_what_it_knew_after_a_restart_too() -> None:
    analyzer = make_analyzer()
    live(analyzer, 2, 120)
    learned = analyzer.summary()["windows_learned"]
    assert live(analyzer, 122, 20, **FAULTS["moved"]) == [("moved", "open")]
    moved = analyzer.summary()
    assert (moved["scene"], moved["faults"]) == (1, ["moved"])
    assert moved["windows_learned"] < 20 < learned
    again = make_analyzer()
    assert again.restore(analyzer.snapshot(), analyzer.tracker_state())
    assert live(again, 142, 20) == [("moved", "closed")]
    assert again.summary()["scene"] == 0
    assert again.summary()["windows_learned"] >= learned
