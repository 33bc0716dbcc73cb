"""Does the alert stage keep its budget? On the production tracker and calibrator, driven by scores.

Windows come every 30 to 75 s instead of every second, for thirty days of seconds are too many for
Python: the budget is a statement about blocks of 300 s, and only a few windows per block and the
correlation between blocks matter to it. Correlated scores are those of a 1 Hz process, looked at
every 30 s. "Raised" counts what passed the threshold, told or suppressed by the bucket.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.alerts.bucket import TokenBucket
from mmstream.alerts.levels import DAY_S
from mmstream.alerts.tracker import AlertTracker
from mmstream.fusion.evidence import MODALITY_WEIGHTS, HarmonicMean
from mmstream.types import MODALITIES, Alert, Evidence, Float64
from tests.alerts.driving import START_S, autoregressive, drive, make_calibrator, make_score, surprises, theory

PER_BLOCK = 4
HOP_S = 300.0 / PER_BLOCK


def independent(seed: int, days: float) -> Float64:
    return surprises(np.random.default_rng(seed).normal(size=round(days * DAY_S / HOP_S)))


@pytest.mark.parametrize(
    ("alerts_per_day", "history_days", "live_days", "cameras"),
    [(2.0, 14.0, 30.0, 20), (1.0, 7.0, 7.0, 20), (5.0, 7.0, 7.0, 20), (1.0, 1.0, 7.0, 20)],
)
def test_t1_independent_scores_raise_what_theory_says(
    alerts_per_day: float, history_days: float, live_days: float, cameras: int
) -> None:
    """Each camera, and all together, within the beta-binomial 99.9 % interval of an unmoved threshold.
    Ours moves every night and follows the rate, so its numbers scatter less."""
    raised = [
        len(
            drive(
                independent(seed, history_days + live_days),
                hop_s=HOP_S,
                history_days=history_days,
                alerts_per_day=alerts_per_day,
            ).opened_s
        )
        for seed in range(cameras)
    ]
    low, high = theory(alerts_per_day, history_days, live_days)
    assert low <= min(raised) <= max(raised) <= high
    low, high = theory(alerts_per_day, history_days, live_days, cameras)
    assert low <= sum(raised) <= high


@pytest.mark.parametrize("phi", [0.9, 0.98])
def test_t2_correlated_scores_keep_the_budget_within_a_quarter(phi: float) -> None:
    hop_s, alerts_per_day, history_days, live_days = 30.0, 4.0, 2.0, 4.0
    steps = round((history_days + live_days) * DAY_S / hop_s)
    scores = autoregressive(np.random.default_rng(2), steps=steps, cameras=24, phi=phi**hop_s)
    raised = [
        len(drive(surprises(x), hop_s=hop_s, history_days=history_days, alerts_per_day=alerts_per_day).opened_s)
        for x in scores
    ]
    assert np.mean(raised) / live_days == pytest.approx(alerts_per_day, rel=0.25)


def test_t3_a_busy_day_and_a_quiet_night_share_the_alerts() -> None:
    """Raw scores four times as large by day, brought to one scale hour by hour as channels are."""
    days, cameras, random = 12.0, 12, np.random.default_rng(3)
    hours = (np.arange(round(days * DAY_S / HOP_S)) * HOP_S % DAY_S / 3600).astype(int)
    learned = round(5 * DAY_S / HOP_S)
    quarters = np.zeros(4)
    for _ in range(cameras):
        raw = np.exp(random.normal(size=len(hours))) * np.where((hours >= 7) & (hours < 19), 4.0, 1.0)
        for hour in range(24):
            here = hours == hour
            middle, high = np.quantile(raw[:learned][here[:learned]], [0.5, 0.95])
            raw[here] = (raw[here] - middle) / (high - middle)
        known = np.sort(raw[:learned])
        scores = -np.log10((1 + learned - np.searchsorted(known, raw)) / (learned + 1))
        outcome = drive(scores + 0.1 * np.maximum(0, raw), hop_s=HOP_S, history_days=5.0, alerts_per_day=4.0)
        quarters += np.histogram(np.array(outcome.opened_s) % DAY_S, 4, (0, DAY_S))[0]
    share = quarters / quarters.sum()
    assert quarters.sum() > 200
    assert 0.15 <= share.min() <= share.max() <= 0.35


def test_t4_scores_that_grow_three_percent_a_day_raise_at_most_half_more_than_the_budget() -> None:
    cameras, history_days, live_days = 12, 7.0, 14.0
    growth = 1.03 ** (np.arange(round((history_days + live_days) * DAY_S / HOP_S)) * HOP_S / DAY_S)
    raised = [
        len(
            drive(
                independent(seed, history_days + live_days) * growth,
                hop_s=HOP_S,
                history_days=history_days,
                alerts_per_day=2.0,
            ).opened_s
        )
        for seed in range(100, 100 + cameras)
    ]
    assert np.mean(raised) / live_days <= 1.5 * 2.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 0.3)), min_size=10, max_size=200),
    st.sampled_from([0.2, 1.0, 5.0, 300.0]),
)
def test_t5_no_sequence_of_scores_gets_past_the_hard_cap(
    steps: Sequence[tuple[float, float]], alerts_per_day: float
) -> None:
    """In any D days at most N D + C are told (C / 2 more if critical), notices at most 10 N D + C,
    and openings of any kind are a block apart."""
    calibrator = make_calibrator(alerts_per_day, block_s=60.0)
    for block in range(100):
        calibrator.observe(1.0 + 0.01 * block, start_s=block * 60.0, end_s=block * 60.0 + 59.0)
    tracker = AlertTracker("a", calibrator=calibrator)
    now_s = 6000.0
    first_told: dict[str, tuple[float, Alert]] = {}
    opened_s: list[float] = []
    for value, gap_days in steps:
        now_s += 20.0 + gap_days * DAY_S
        for _ in range(3):
            now_s += 1.0
            decision = tracker.push(make_score(value, start_s=now_s - 1.0, hop_s=1.0))
            opened_s += [now_s] if decision.opened else []
            for alert in decision.alerts:
                if not alert.suppressed:
                    first_told.setdefault(alert.alert_id, (now_s, alert))
    told = list(first_told.values())
    capacity = TokenBucket(per_day=alerts_per_day).capacity
    assert_capped([at_s for at_s, alert in told if is_plain(alert)], alerts_per_day, capacity)
    assert_capped([at_s for at_s, alert in told if alert.severity != "notice"], alerts_per_day, 1.5 * capacity)
    assert_capped([at_s for at_s, alert in told if alert.severity == "notice"], 10 * alerts_per_day, capacity)
    assert all(later - earlier >= 60.0 for earlier, later in itertools.pairwise(opened_s))


def is_plain(alert: Alert) -> bool:
    return alert.severity == "alert"


def assert_capped(times_s: Sequence[float], per_day: float, capacity: float) -> None:
    for first, last in itertools.combinations_with_replacement(range(len(times_s)), 2):
        days = (times_s[last] - times_s[first]) / DAY_S
        assert last - first + 1 <= per_day * days + capacity + 1e-6


FOUR = MODALITIES[:4]
"""The test is of four modalities."""


@pytest.mark.parametrize("num_missing", [0, 1, 2, 3])
def test_t6_modalities_that_drop_out_leave_the_rate_within_a_fifth(num_missing: int) -> None:
    """The threshold is learned with all four; then each window misses so many of them, at random."""
    history_days, live_days, cameras, random = 3.0, 6.0, 10, np.random.default_rng(6)
    weights = np.array([MODALITY_WEIGHTS[name] for name in FOUR])
    steps, learned = round((history_days + live_days) * DAY_S / HOP_S), round(history_days * DAY_S / HOP_S)
    raised = 0
    for _ in range(cameras):
        p = random.random((steps, 4))
        order = random.random((steps, 4)).argsort(axis=1)
        present = order >= num_missing
        present[:learned] = True
        pulls = np.where(present, weights / p, 0.0)
        scores = np.maximum(0.0, np.log10(pulls.sum(axis=1) / np.where(present, weights, 0.0).sum(axis=1)))
        evidence = [
            Evidence(channel=name, modality=name, p=p[-1, index])
            for index, name in enumerate(FOUR)
            if present[-1, index]
        ]
        assert scores[-1] == pytest.approx(HarmonicMean().fuse(evidence)[0])
        raised += len(drive(scores, hop_s=HOP_S, history_days=history_days, alerts_per_day=8.0).opened_s)
    assert raised / cameras / live_days == pytest.approx(8.0, rel=0.2)


def test_t7_true_events_that_nobody_marked_cost_recall_but_never_the_budget() -> None:
    """One block in 200 holds a true event, in the history as in what follows. Measured: 2.00 a day in all,
    of 191 true events 188 found."""
    history_days, live_days, cameras, random = 7.0, 14.0, 10, np.random.default_rng(7)
    raised = num_events = num_found = 0
    for seed in range(cameras):
        scores = independent(200 + seed, history_days + live_days)
        events = np.flatnonzero(random.random(len(scores) // PER_BLOCK) < 0.005) * PER_BLOCK + 1
        for event in events:
            scores[event : event + 2] = 4.0 + random.exponential(0.5)
        outcome = drive(scores, hop_s=HOP_S, history_days=history_days, alerts_per_day=2.0)
        raised += len(outcome.opened_s)
        live = START_S + events[events * HOP_S > history_days * DAY_S] * HOP_S
        opened_s = np.array(outcome.opened_s)
        num_events += len(live)
        num_found += sum(bool(np.any((opened_s >= at_s) & (opened_s <= at_s + 300))) for at_s in live)
    assert raised / cameras / live_days <= 1.25 * 2.0
    assert num_found / num_events >= 0.9
