"""How many alerts are no chance: exact for one camera and for many with different histories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmstream.alerts.beta import beta_binomial_interval
from mmstream.training.rates import Blocks, interval

UNEQUAL = (Blocks(rank=3, num_calibrated=400, num_new=10), Blocks(rank=3, num_calibrated=30, num_new=200))
"""A camera that was added lately has less history, and as many new blocks."""
CAMERAS = st.builds(
    lambda count, share, new: Blocks(rank=1 + int(share * (count - 1)), num_calibrated=count, num_new=new),
    st.integers(1, 400),
    st.floats(0, 1),
    st.integers(0, 60),
)


@given(CAMERAS, st.sampled_from([0.9, 0.99]))
def test_of_one_camera_it_is_beta_binomial(camera: Blocks, level: float) -> None:
    a, b = camera.rank, camera.num_calibrated + 1 - camera.rank
    assert interval([camera], level=level) == beta_binomial_interval(camera.num_new, a, b, level=level)


@given(st.lists(CAMERAS, min_size=2, max_size=5), st.sampled_from([0.9, 0.99]))
def test_of_several_it_is_the_law_of_their_sum(cameras: list[Blocks], level: float) -> None:
    law = np.ones(1)
    for each in cameras:
        own = stats.betabinom(each.num_new, each.rank, each.num_calibrated + 1 - each.rank)
        law = np.convolve(law, own.pmf(np.arange(each.num_new + 1)))
    below, tail = np.cumsum(law), (1 - level) / 2
    least, most = interval(cameras, level=level)
    assert (below[least - 1] if least else 0.0) <= tail + 1e-9
    assert below[least] > tail - 1e-9
    assert 1.0 - below[most] <= tail + 1e-9
    assert most == 0 or 1.0 - below[most - 1] > tail - 1e-9


def test_cameras_with_unequal_histories_are_hardly_ever_found_to_break_the_budget_that_they_keep() -> None:
    random, count = np.random.default_rng(0), 4000
    num_alerts = np.zeros(count, np.int64)
    for each in UNEQUAL:
        rates = random.beta(each.rank, each.num_calibrated + 1 - each.rank, count)
        num_alerts += random.binomial(each.num_new, rates)
    least, most = interval(UNEQUAL, level=0.99)
    outside = int(((num_alerts < least) | (num_alerts > most)).sum())
    assert outside <= stats.binom.ppf(0.9995, count, 0.01)
    # taken for one camera with the history of both, nearly every good version would be refused
    wrong = beta_binomial_interval(210, 6, 430 + 1 - 6, level=0.99)
    assert (num_alerts > wrong[1]).mean() > 0.5


def test_hundreds_of_cameras_with_thousands_of_blocks_keep_their_tails() -> None:
    many = [Blocks(rank=28, num_calibrated=4032, num_new=2048)] * 200
    least, most = interval(many, level=0.99)
    mean = 200 * 2048 * 28 / 4033
    own = stats.betabinom(2048, 28, 4005).var()
    spread = stats.norm.ppf(0.995) * np.sqrt(200 * own)
    assert (least, most) == pytest.approx((mean - spread, mean + spread), abs=10)


def test_what_cannot_be_a_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="rank"):
        Blocks(rank=0, num_calibrated=10, num_new=1)
