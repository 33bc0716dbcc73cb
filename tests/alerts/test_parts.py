"""The small parts of the alert stage, each by itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import beta, genpareto

from mmstream.alerts.beta import beta_cdf, beta_quantile
from mmstream.alerts.bucket import TokenBucket
from mmstream.alerts.debounce import JITTER, Debounce, tie_jitter
from mmstream.alerts.drift import DriftMartingale
from mmstream.alerts.levels import DAY_S
from mmstream.alerts.rate import RateController
from mmstream.alerts.tail import Tail, fit_tail


def test_the_debounce_wants_two_of_three_or_one_ten_times_rarer() -> None:
    debounce = Debounce()
    assert [debounce.push(score) for score in (1.0, 6.0, 1.0, 1.0, 3.0, 3.0)] == [0.0, 5.0, 1.0, 1.0, 2.0, 3.0]


def test_windows_of_a_day_are_told_apart_by_less_than_the_jitter() -> None:
    jitters = [tie_jitter(1_700_000_000.0 + second) for second in range(86_400)]
    assert len(set(jitters)) == 86_400
    assert 0.0 <= min(jitters) < 0.01 * JITTER
    assert 0.99 * JITTER < max(jitters) < JITTER


def test_the_bucket_refills_with_the_budget() -> None:
    bucket = TokenBucket(per_day=1.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(0.9 * DAY_S)
    assert bucket.take(1.01 * DAY_S)
    assert not bucket.take(1.5 * DAY_S)


def test_critical_alerts_overdraw_by_half_the_capacity_and_pay_back() -> None:
    bucket = TokenBucket(per_day=2.0)
    assert [bucket.take(0.0, critical=True) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not bucket.take(1.4 * DAY_S)
    assert bucket.take(1.6 * DAY_S)


def test_a_restored_bucket_never_holds_more_than_it_can() -> None:
    rich, poor = TokenBucket(per_day=10.0), TokenBucket(per_day=1.0)
    rich.take(5.0)
    poor.load(rich.state())
    assert (poor.tokens, poor.filled_s) == (2.0, 5.0)


def test_the_rate_follows_the_alerts_of_the_day() -> None:
    controller = RateController(alerts_per_day=2.0)
    for num, factor in ((2, 1.0), (4, math.exp(-0.15)), (0, 1.0)):
        controller.watch(DAY_S)
        for _ in range(num):
            controller.count()
        controller.end_day()
        assert controller.factor == pytest.approx(factor)


def test_the_rate_stays_between_an_eighth_and_twice_the_budget() -> None:
    controller = RateController(alerts_per_day=0.01)
    for _ in range(300):
        controller.count()
    controller.end_day()
    assert controller.factor == 1 / 8
    for _ in range(30):
        controller.watch(DAY_S)
        controller.end_day()
    assert controller.factor == 2.0


def test_half_a_day_watched_is_owed_half_the_budget() -> None:
    controller = RateController(alerts_per_day=2.0)
    controller.watch(DAY_S / 2)
    controller.count()
    controller.end_day()
    assert controller.factor == 1.0


def test_a_true_alert_does_not_count_whenever_it_is_said() -> None:
    early, late = RateController(alerts_per_day=2.0), RateController(alerts_per_day=2.0)
    for controller in (early, late):
        controller.watch(DAY_S)
        for _ in range(4):
            controller.count()
    early.forgive()
    early.end_day()
    late.end_day()
    late.forgive()
    assert early.factor == pytest.approx(late.factor) == pytest.approx(math.exp(-0.075))


def test_uniform_p_values_hardly_ever_look_like_drift() -> None:
    random = np.random.default_rng(0)
    alarms = sum(any(alarms_of(random.random(1000))) for _ in range(20))
    assert alarms <= 2


def test_small_p_values_are_drift_until_they_are_over() -> None:
    random = np.random.default_rng(1)
    martingale = DriftMartingale()
    alarms = [martingale.push(p) for p in random.random(100) ** 4]
    assert sum(alarms) == 1
    assert martingale.drifting
    again = DriftMartingale()
    again.load(martingale.state())
    assert again.drifting
    for p in random.random(600):
        again.push(p)
    assert not again.drifting


def alarms_of(p_values: np.ndarray) -> list[bool]:
    martingale = DriftMartingale()
    return [martingale.push(p) for p in p_values.tolist()]


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.5, 500.0), st.floats(0.5, 5000.0))
def test_the_beta_distribution_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(betainc(a, b, x), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("q", "a", "b"), list(itertools.product([0.05, 0.5, 0.95], [1, 28, 500], [5, 288, 4005])))
def test_the_beta_quantile_is_scipys(q: float, a: int, b: int) -> None:
    assert beta_quantile(q, a, b) == pytest.approx(beta.ppf(q, a, b), rel=1e-7)


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.3])
def test_the_tail_is_a_generalised_pareto_and_its_level_is_its_inverse(shape: float) -> None:
    tail = Tail(start=3.0, share=0.2, scale=0.5, shape=shape)
    for value in (3.1, 4.0, 5.0):
        assert tail.p(value) == pytest.approx(0.2 * genpareto.sf(value - 3.0, shape, scale=0.5))
        assert tail.level(tail.p(value)) == pytest.approx(value)


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.3])
def test_a_long_history_gives_back_the_tail_it_came_from(shape: float) -> None:
    maxima = genpareto.rvs(shape, scale=0.5, size=20_000, random_state=np.random.default_rng(2)) + 3.0
    level = fit_tail(maxima).level(1e-3)
    assert level == pytest.approx(3.0 + genpareto.isf(1e-3, shape, scale=0.5), rel=0.05)


@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.lists(st.floats(-1, 9), max_size=10))
def test_the_tail_of_anything_is_monotone(maxima: list[float], others: list[float]) -> None:
    tail = fit_tail(np.array(maxima), others)
    levels = [tail.level(p) for p in (0.2, 0.05, 0.01, 1e-4)]
    assert levels == sorted(levels)
    assert all(math.isfinite(level) for level in levels)
    assert -0.3 <= tail.shape <= 0.5


def test_a_bucket_that_is_resized_remembers_what_was_taken() -> None:
    bucket = TokenBucket(per_day=4.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True] * 3
    bucket.resize(TokenBucket(per_day=2.0))
    assert [bucket.take(0.0) for _ in range(2)] == [True, False]
    bucket.resize(TokenBucket(per_day=1.0))
    assert not bucket.take(DAY_S)
    bucket.resize(TokenBucket(per_day=4.0))
    assert bucket.take(2.0 * DAY_S)
