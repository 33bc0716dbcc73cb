"""A version that keeps the budget stays; one that does not is found out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from mmstream.training.rates import Blocks, interval
from mmstream.training.watching import DOUBT, Look, WatchedFeed, look_at
from mmstream.types import Alert
from tests.services.running import make_alert

BLOCK_S = 300.0
SINCE_S = 1_700_000_000.0
FEEDS = [WatchedFeed(feed_id=f"cam-{n}", alerts_per_day=2.0, num_blocks=4032) for n in range(10)]


def alerts(count: int, *, every_s: float = 60.0, feed_id: str = "cam-3", **changes: object) -> list[Alert]:
    return [make_alert(feed_id, SINCE_S + 1.0 + every_s * n, kind="unusual", **changes) for n in range(count)]


def look(found: list[Alert], *, hours: float = 6.0, feeds: list[WatchedFeed] | None = None) -> Look:
    now_s = SINCE_S + 3600.0 * hours
    return look_at(found, FEEDS if feeds is None else feeds, since_s=SINCE_S, now_s=now_s, block_s=BLOCK_S)


def test_more_alerts_than_chance_allows_are_too_many() -> None:
    at_64_blocks = look([])
    assert at_64_blocks.num_blocks == 10 * 64  # 72 have passed: looked at after 64
    level = 1.0 - 2 * DOUBT * 6 / math.pi**2 / 49
    each = Blocks(rank=28, num_calibrated=4032, num_new=64)
    assert at_64_blocks.most == interval([each] * 10, level=level)[1]
    assert not look(alerts(at_64_blocks.most)).too_many
    flooded = look(alerts(at_64_blocks.most + 1))
    assert flooded.too_many
    assert flooded.sentence.startswith(f"{at_64_blocks.most + 1} alerts")


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "true"},
        {"severity": "notice"},
        {"feed_id": "elsewhere"},
        {"kind": "health", "cause": "frozen"},
        {"kind": "rule", "cause": "fire"},
    ],
)
def test_what_is_no_fault_of_the_version_does_not_count(changes: dict[str, str]) -> None:
    found = [dataclasses.replace(alert, **changes) for alert in alerts(200)]  # type: ignore[arg-type]
    assert look(found).num_alerts == 0


def test_alerts_beyond_the_budget_and_false_ones_count() -> None:
    found = [*alerts(20, suppressed=True), *alerts(20, feed_id="cam-4", verdict="false_alarm")]
    assert look(found).num_alerts == 40


def test_alerts_of_before_are_those_of_the_version_before() -> None:
    before = [dataclasses.replace(a, start_s=a.start_s - 20_000.0) for a in alerts(200)]
    assert look(before).num_alerts == 0


def test_nothing_is_said_in_the_first_block_nor_where_nothing_runs() -> None:
    assert not look(alerts(4), hours=0.08).too_many
    assert not look(alerts(200), feeds=[]).too_many
    assert "too early" in look(alerts(4), hours=0.08).sentence


def test_a_young_camera_is_given_the_doubt_that_its_threshold_has() -> None:
    young = [WatchedFeed(feed_id="cam-3", alerts_per_day=2.0, num_blocks=12)]
    old = [WatchedFeed(feed_id="cam-3", alerts_per_day=2.0, num_blocks=4032)]
    assert look([], hours=24, feeds=young).most > look([], hours=24, feeds=old).most


def test_a_version_that_keeps_the_budget_is_hardly_ever_taken_back() -> None:
    """2000 good versions, watched for five days each at every look."""
    random = np.random.default_rng(0)
    feed = [WatchedFeed(feed_id="cam", alerts_per_day=20.0, num_blocks=2000)]
    rank = math.floor(20.0 * BLOCK_S / 86_400.0 * 2001)
    looks = [2**j for j in range(11)]
    most = [look([], hours=n * BLOCK_S / 3600.0, feeds=feed).most for n in looks]
    rates = random.beta(rank, 2001 - rank, size=2000)
    opened = np.cumsum(random.random((2000, looks[-1])) < rates[:, None], axis=1)
    taken_back = np.any([opened[:, n - 1] > bound for n, bound in zip(looks, most, strict=True)], axis=0)
    assert taken_back.mean() <= DOUBT + 3 * math.sqrt(DOUBT / 2000)


def test_a_version_that_alerts_five_times_too_often_is_found_out_within_a_day() -> None:
    random = np.random.default_rng(1)
    every = 5 * 2.0 * BLOCK_S / 86_400.0
    found_out = 0
    for _ in range(50):
        blocks = np.flatnonzero(random.random(10 * 256) < every)
        opened = [make_alert(f"cam-{b % 10}", SINCE_S + (b // 10) * BLOCK_S, kind="unusual") for b in blocks.tolist()]
        found_out += look(opened, hours=24).too_many
    assert found_out >= 49
