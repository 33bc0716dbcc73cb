from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr
from scipy.stats import betabinom

from mmstream.alerts.calibrate import DAY_S, Calibrator, Debounce, TokenBucket
from mmstream.alerts.tracker import AlertTracker
from mmstream.types import Score

BLOCK_S = 300.0


def make_calibrator(alerts_per_day: float = 2.0, **changes: float) -> Calibrator:
    settings_ = {"block_s": BLOCK_S, "history_days": 14.0, "warmup_s": 0.0} | changes
    return Calibrator(alerts_per_day=alerts_per_day, **settings_)


def make_score(value: float, *, start_s: float, hop_s: float, history: bool = False) -> Score:
    return Score(
        feed_id="a",
        start_s=start_s,
        end_s=start_s + hop_s,
        surprise=float(value),
        shares={"picture": 1.0},
        history=history,
    )


def count_alerts(scores: np.ndarray, *, hop_s: float, calibration_s: float, alerts_per_day: float) -> int:
    """Alerts opened after the calibration time, by the real tracker without its bucket's cap."""
    calibrator = make_calibrator(alerts_per_day)
    tracker = AlertTracker("a", calibrator=calibrator)
    tracker._bucket.tokens = tracker._bucket.capacity = math.inf
    opened = 0
    for number, value in enumerate(scores):
        start_s = number * hop_s
        decision = tracker.push(
            make_score(value, start_s=start_s, hop_s=hop_s, history=start_s + hop_s <= calibration_s)
        )
        opened += decision.opened
    return opened


def surprises(normals: np.ndarray) -> np.ndarray:
    """-log10 of the p-values of standard normal scores."""
    return -log_ndtr(-normals) / math.log(10)


def test_the_debounce_wants_two_of_three_or_one_ten_times_rarer():
    debounce = Debounce()
    assert [debounce.push(score) for score in (1.0, 6.0, 1.0, 1.0, 3.0, 3.0)] == [0.0, 5.0, 1.0, 1.0, 2.0, 3.0]


def test_the_threshold_is_the_kth_largest_block_maximum():
    calibrator = make_calibrator()
    maxima = np.random.default_rng(0).permutation(4032).astype(float)
    for block, value in enumerate(maxima):
        calibrator.observe(value, start_s=block * BLOCK_S, end_s=(block + 0.999) * BLOCK_S)
    calibrator.observe(0.0, start_s=4032 * BLOCK_S, end_s=4032.5 * BLOCK_S)
    assert calibrator.num_blocks == 4032
    assert calibrator.phase == "calibrated"
    rank = math.floor(2 * 300 / 86400 * 4033)
    assert calibrator.levels.alert == 4032 - rank
    assert calibrator.p(4032.0 - rank + 0.5) == rank / 4033
    assert calibrator.expected_every_s(1e9) == BLOCK_S * 4033
    assert calibrator.is_critical(4031.5)
    assert not calibrator.is_critical(4032.0 - rank + 0.5)


def test_half_covered_blocks_and_time_without_evidence_do_not_count():
    calibrator = make_calibrator()
    calibrator.observe(1.0, start_s=150.0, end_s=299.0)
    calibrator.observe(1.0, start_s=300.0, end_s=599.0, known=False)
    calibrator.observe(1.0, start_s=600.0, end_s=899.0)
    calibrator.observe(1.0, start_s=900.0, end_s=901.0)
    assert calibrator.num_blocks == 1


def test_maxima_older_than_the_history_are_forgotten():
    calibrator = make_calibrator(history_days=1.0)
    for block in range(600):
        calibrator.observe(1.0, start_s=block * BLOCK_S, end_s=(block + 0.999) * BLOCK_S)
    assert 285 <= calibrator.num_blocks <= 288


def test_no_threshold_before_the_warmup_is_over():
    calibrator = make_calibrator(warmup_s=1800.0)
    for second in range(1799):
        calibrator.observe(1.0, start_s=float(second), end_s=second + 1.0)
    assert calibrator.phase == "warmup"
    assert calibrator.levels.alert == math.inf
    for second in range(1799, 1900):
        calibrator.observe(1.0, start_s=float(second), end_s=second + 1.0)
    assert calibrator.phase == "provisional"
    assert 1.0 < calibrator.levels.notice <= calibrator.levels.low <= calibrator.levels.alert < 5.0


def test_a_budget_larger_than_the_blocks_of_a_day_is_clipped():
    calibrator = make_calibrator(10_000.0, block_s=10.0)
    for second in range(200):
        calibrator.observe(float(second % 20), start_s=float(second), end_s=second + 1.0)
    assert calibrator.phase == "calibrated"
    assert math.isfinite(calibrator.levels.alert)


def test_independent_scores_give_the_number_of_alerts_that_theory_says():
    """T1: 14 days of calibration, 30 of test, budget 2 a day: beta-binomial, 99.9 %."""
    per_block, blocks, tested = 4, 4032, 8640
    scores = surprises(np.random.default_rng(1).normal(size=(blocks + tested) * per_block))
    opened = count_alerts(scores, hop_s=BLOCK_S / per_block, calibration_s=blocks * BLOCK_S, alerts_per_day=2.0)
    rank = math.floor(2 * BLOCK_S / DAY_S * (blocks + 1))
    low, high = betabinom.ppf([0.0005, 0.9995], tested, rank, blocks + 1 - rank)
    assert low <= opened <= high


def test_autocorrelated_scores_keep_the_budget_on_average():
    """T2: AR(1) of 0.9, 24 cameras, 4 days after 2: within a quarter of the budget."""
    hop_s, alerts_per_day, days, tested = 30.0, 4.0, 2, 4
    steps = int((days + tested) * DAY_S / hop_s)
    random = np.random.default_rng(2)
    noise = random.normal(size=(steps, 24)) * math.sqrt(1 - 0.9**2)
    values = np.empty((steps, 24))
    values[0] = random.normal(size=24)
    for step in range(1, steps):
        values[step] = 0.9 * values[step - 1] + noise[step]
    opened = [
        count_alerts(surprises(scores), hop_s=hop_s, calibration_s=days * DAY_S, alerts_per_day=alerts_per_day)
        for scores in values.T
    ]
    assert np.mean(opened) / tested == pytest.approx(alerts_per_day, rel=0.25)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 0.3)), min_size=10, max_size=300),
    st.sampled_from([0.2, 1.0, 5.0, 300.0]),
)
def test_no_sequence_of_scores_gets_past_the_hard_cap(steps, alerts_per_day):
    """T5: alerts in any D days <= N D + C."""
    calibrator = make_calibrator(alerts_per_day, block_s=60.0)
    for block in range(100):
        calibrator.observe(0.01 * block, start_s=block * 60.0, end_s=block * 60.0 + 59.0)
    tracker = AlertTracker("a", calibrator=calibrator)
    now_s, opened = 6000.0, []
    for value, gap_days in steps:
        now_s += 20.0 + gap_days * DAY_S
        for repeat in range(3):
            now_s += 1.0
            score = make_score(value if repeat else 20.0, start_s=now_s - 1.0, hop_s=1.0)
            if tracker.push(score).opened:
                opened.append(now_s)
    capacity = max(2.0, 2.0 * alerts_per_day)
    for first in range(len(opened)):
        for last in range(first, len(opened)):
            days = (opened[last] - opened[first]) / DAY_S
            assert last - first + 1 <= alerts_per_day * days + capacity + 1e-6
    assert all(later - earlier >= 60.0 for earlier, later in itertools.pairwise(opened))


def test_the_bucket_refills_with_the_budget():
    bucket = TokenBucket(per_day=1.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(0.9 * DAY_S)
    assert bucket.take(1.01 * DAY_S)
    assert not bucket.take(1.5 * DAY_S)


def test_an_event_in_the_first_hour_does_not_put_the_next_out_of_reach():
    calibrator = make_calibrator(warmup_s=0.0)
    random = np.random.default_rng(3)
    for block in range(12):
        value = 9.0 if block == 6 else 2.5 + random.exponential(0.43)
        calibrator.observe(value, start_s=block * BLOCK_S, end_s=(block + 0.999) * BLOCK_S)
    assert calibrator.phase == "provisional"
    assert calibrator.levels.alert < 7.0


def test_maxima_of_another_block_length_are_not_taken_over():
    first = make_calibrator(block_s=10.0)
    for second in range(100):
        first.observe(1.0, start_s=float(second), end_s=second + 1.0)
    same, other = make_calibrator(block_s=10.0), make_calibrator(block_s=300.0)
    same.load(first.state())
    other.load(first.state())
    assert (same.num_blocks, other.num_blocks) == (first.num_blocks, 0)
    assert same.levels == first.levels
    assert other.seen_s == first.seen_s
