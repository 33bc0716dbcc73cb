from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.normality.reference import P_FLOOR, Reference


def make_reference(scores: np.ndarray, **options: int) -> Reference:
    reference = Reference(**options)
    for score in scores:
        reference.add(float(score))
    return reference


def test_ranks_are_conformal_p_values():
    reference = make_reference(np.arange(40))
    assert reference.p(-1.0) == 1.0
    assert reference.p(20.0) == (1 + 20) / 41
    assert reference.p(39.5) == 1 / 41


@pytest.mark.parametrize("name", ["normal", "exponential", "lognormal"])
def test_p_values_of_the_same_source_are_uniform(name):
    random = np.random.default_rng(1)
    draw = getattr(random, name)
    reference = make_reference(draw(size=5000))
    p = np.array([reference.p(score) for score in draw(size=20_000)])
    for level in (0.5, 0.1, 0.05, 0.01, 0.002):
        assert (p <= level).mean() == pytest.approx(level, rel=0.5 if level < 0.01 else 0.25)


def test_a_far_outlier_is_rarer_than_one_in_n_but_bounded():
    reference = make_reference(np.random.default_rng(2).normal(size=1000))
    assert 1e-8 <= reference.p(1e9) < 1e-6
    assert make_reference(np.random.default_rng(2).normal(size=20_000)).p(1e9) >= P_FLOOR


def test_a_score_that_was_always_the_same_gives_no_tail_to_extrapolate():
    reference = make_reference(np.zeros(500))
    assert reference.p(0.0) == 1.0
    assert reference.p(1e-6) == pytest.approx(1 / 501, rel=0.02)


def test_the_reference_slides():
    reference = make_reference(np.concatenate([np.zeros(300), np.full(300, 5.0)]), capacity=300, thin=1)
    assert len(reference) == 300
    assert reference.p(5.0) == 1.0


def test_once_full_every_fifth_score_is_kept():
    reference = make_reference(np.zeros(1000), capacity=1000)
    for score in np.full(1000, 5.0):
        reference.add(score)
    assert reference.p(4.0) == pytest.approx(0.2, abs=0.02)


def test_keeping_the_newest_forgets_the_scores_of_another_scale():
    reference = make_reference(np.concatenate([np.full(100, 9.0), np.arange(50)]))
    reference.keep_newest(50)
    assert len(reference) == 50
    assert reference.p(49.5) == 1 / 51


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=400),
    st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=20),
)
def test_p_is_finite_in_range_and_falls_with_the_score(scores, asked):
    reference = make_reference(np.array(scores))
    p = [reference.p(score) for score in sorted(asked)]
    assert all(P_FLOOR <= value <= 1.0 for value in p)
    assert all(later <= earlier for earlier, later in itertools.pairwise(p))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300), st.integers(1, 150))
def test_a_loaded_reference_goes_on_exactly_like_the_first(scores, capacity):
    first = make_reference(np.array(scores), capacity=capacity, thin=2)
    second = Reference(capacity=capacity, thin=2)
    second.load(first.state())
    for score in scores:
        assert second.p(score) == first.p(score)
        first.add(score)
        second.add(score)


def test_a_surprise_is_the_rank_of_what_is_usual_and_has_no_ceiling_beyond():
    reference = make_reference(np.random.default_rng(0).exponential(size=500))
    middle = float(np.median(np.random.default_rng(0).exponential(size=500)))
    assert reference.surprise(middle) == pytest.approx(-np.log10(reference.p(middle)))
    far = [reference.surprise(score) for score in (10.0, 100.0, 1000.0)]
    assert far[1] - far[0] == pytest.approx((far[2] - far[1]) / 10.0)
    assert far[2] > 100 > -np.log10(reference.p(1000.0))
    # of an exponential, the tail is that of the distribution itself
    assert reference.surprise(8.0) == pytest.approx(8.0 / np.log(10), rel=0.25)


def test_nothing_is_surprising_or_away_while_nothing_is_known():
    assert Reference().surprise(1e9) == 0.0
    assert Reference().deviation(1e9, 1.0) == 0.0


def test_a_deviation_is_measured_by_the_way_from_the_median_to_the_95_percent_quantile_or_the_least():
    reference = make_reference(np.arange(1001))
    assert reference.deviation(950.0, 1.0) == pytest.approx(1.0, abs=0.03)
    assert reference.deviation(1400.0, 1.0) == pytest.approx(2.0, abs=0.03)
    assert reference.deviation(1400.0, 900.0) == pytest.approx(1.0, abs=0.03)
