"""One thing at several scales: what shows at two of them counts."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.scales import CAPACITY, NUM_SCALES, Scales
from mmstream.stages import Normality
from mmstream.types import Float32

SPREADS = (0.1, 0.2, 0.4, 0.8, 1.6)


def make_scales(count: int = 400, *, spreads: tuple[float, ...] = SPREADS) -> Scales:
    scales, random = Scales(dim=3 + NUM_SCALES), np.random.default_rng(0)
    for second in range(count):
        scales.learn(make_vector(*(5.0 + random.normal(0.0, spreads))), float(second))
    return scales


def make_vector(*measured: float) -> Float32:
    return np.array([99.0 * measured[0], -1.0, 0.0, *measured], np.float32)


def test_it_is_a_normality() -> None:
    assert isinstance(Scales(dim=8), Normality)


def rare_at(*scales: int) -> Float32:
    measured = [5.0] * NUM_SCALES
    for scale in scales:
        measured[scale] += 6 * SPREADS[scale]
    return make_vector(*measured)


@pytest.mark.parametrize("scale", range(NUM_SCALES - 1))
def test_what_is_rare_at_two_neighbouring_scales_is_found_whichever_they_are(scale: int) -> None:
    scales = make_scales()
    usual = scales.score(make_vector(*[5.0] * NUM_SCALES))
    assert scales.score(rare_at(scale, scale + 1)) > usual + 2.0


@pytest.mark.parametrize("scale", range(NUM_SCALES))
def test_what_is_rare_at_one_scale_alone_is_noise(scale: int) -> None:
    scales = make_scales()
    assert scales.score(rare_at(scale)) < 1.0


def test_the_same_excess_counts_where_the_scales_are_steady_and_not_where_they_vary() -> None:
    scales = make_scales()
    steady, varying = make_vector(6.0, 6.0, 5.0, 5.0, 5.0), make_vector(5.0, 5.0, 5.0, 6.0, 6.0)
    assert scales.score(steady) > scales.score(varying) + 1.5


def test_less_than_the_least_is_nothing_however_steady_a_scale_was() -> None:
    scales = Scales(dim=NUM_SCALES, least=1.0)
    for second in range(200):
        scales.learn(np.full(NUM_SCALES, 5.0, np.float32), float(second))
    assert scales.score(np.full(NUM_SCALES, 5.5, np.float32)) == pytest.approx(0.5)


def test_other_numbers_of_the_vector_do_not_count() -> None:
    scales = make_scales()
    usual = make_vector(*[5.0] * NUM_SCALES)
    strange = usual.copy()
    strange[:3] = 1e9
    assert scales.score(strange) == scales.score(usual)


def test_what_varies_no_more_than_it_used_to_is_ordinary() -> None:
    scales, random = make_scales(2000), np.random.default_rng(1)
    fresh = [scales.score(make_vector(*(5.0 + random.normal(0.0, (0.1, 0.2, 0.4, 0.8, 1.6))))) for _ in range(500)]
    # five independent numbers, each beyond its 95 % quantile in one case of twenty: two of them in 2.3 %
    assert 0.005 < float((np.array(fresh) > 1.0).mean()) < 0.06


def test_nothing_is_known_at_first_and_hostile_numbers_stay_finite() -> None:
    scales = Scales(dim=8)
    assert scales.score(make_vector(*[9.0] * NUM_SCALES)) == 0.0
    for second in range(100):
        scales.learn(np.full(8, 3e38 * (-1) ** second, np.float32), float(second))
    assert np.isfinite(scales.score(np.full(8, 3e38, np.float32)))


def test_what_was_learned_is_kept_exactly_and_stays_small() -> None:
    scales, again = make_scales(3 * CAPACITY), Scales(dim=3 + NUM_SCALES)
    state = scales.state()
    assert sum(array.nbytes for array in state.values()) < 200 * 1024
    again.load(state)
    probe = make_vector(5.05, 5.3, 5.5, 6.9, 7.0)
    assert again.score(probe) == scales.score(probe)
    assert len(again) == len(scales) == 3 * CAPACITY
    with pytest.raises(ValueError, match="at least one number"):
        Scales(dim=0)
