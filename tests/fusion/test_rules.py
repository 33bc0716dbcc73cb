from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmstream.fusion import FUSERS
from mmstream.stages import Fuser, load
from mmstream.types import MODALITIES, Evidence

ALPHA = 0.01
NUM_WINDOWS = 60_000


def make(name: str) -> Fuser:
    fuser: Fuser = load(FUSERS, name)()
    return fuser


def evidence(**p: float) -> list[Evidence]:
    return [Evidence(channel=name, modality=name, p=value) for name, value in p.items()]  # type: ignore[arg-type]


some_p = st.floats(1e-8, 1.0)


@pytest.mark.parametrize("name", FUSERS)
@given(ps=st.dictionaries(st.sampled_from(MODALITIES), some_p, min_size=1))
def test_shares_sum_to_one_and_surprise_is_never_negative(name: str, ps: dict[str, float]) -> None:
    surprise, shares = make(name).fuse(evidence(**ps))
    assert surprise >= 0.0
    assert math.isfinite(surprise)
    assert set(shares) == set(ps)
    assert abs(math.fsum(shares.values()) - 1.0) <= 1e-9
    assert all(share >= -1e-12 for share in shares.values())


@pytest.mark.parametrize("name", FUSERS)
@given(ps=st.dictionaries(st.sampled_from(MODALITIES), some_p, min_size=1), rarer=st.floats(0.1, 0.9))
def test_a_rarer_modality_never_makes_the_whole_less_surprising(name: str, ps: dict[str, float], rarer: float) -> None:
    fuser = make(name)
    first = next(iter(ps))
    before, _ = fuser.fuse(evidence(**ps))
    after, _ = fuser.fuse(evidence(**ps | {first: ps[first] * rarer}))
    assert after >= before - 1e-9


@pytest.mark.parametrize("name", FUSERS)
def test_an_event_in_one_modality_is_given_most_of_the_share(name: str) -> None:
    _, shares = make(name).fuse(evidence(picture=0.4, sound=1e-5, words=0.3, sensor=0.7))
    assert shares["sound"] >= 0.6


@pytest.mark.parametrize("name", FUSERS)
def test_without_evidence_nothing_is_surprising(name: str) -> None:
    assert make(name).fuse([]) == (0.0, {})


def test_fisher_is_the_chi_squared_tail() -> None:
    ps = [0.03, 0.2, 0.5]
    surprise, _ = make("fisher").fuse(evidence(picture=ps[0], sound=ps[1], words=ps[2]))
    assert 10**-surprise == pytest.approx(float(stats.combine_pvalues(ps, "fisher").pvalue))
    surprise, _ = make("fisher").fuse(evidence(picture=1e-200, sound=1e-200))
    assert 390 < surprise < 400


def test_max_pays_for_having_had_several_chances() -> None:
    surprise, shares = make("max").fuse(evidence(picture=0.01, sound=0.5))
    assert 10**-surprise == pytest.approx(1 - 0.99**2)
    assert shares == {"picture": 1.0, "sound": 0.0}


@pytest.mark.parametrize("name", ["linear", "harmonic"])
def test_a_modality_of_less_weight_counts_less(name: str) -> None:
    heavy, _ = load(FUSERS, name)({"picture": 1.0, "sound": 3.0}).fuse(evidence(picture=0.9, sound=1e-4))
    light, _ = load(FUSERS, name)({"picture": 1.0, "sound": 0.3}).fuse(evidence(picture=0.9, sound=1e-4))
    assert heavy > light
    with pytest.raises(ValueError, match="must be above 0"):
        load(FUSERS, name)({"picture": 0.0})


@pytest.mark.parametrize("name", ["harmonic", "max", "fisher"])
@pytest.mark.parametrize("num_missing", range(4))
def test_false_positives_stay_at_the_nominal_rate_whichever_modalities_are_missing(name: str, num_missing: int) -> None:
    """Independent uniform p-values, each window with ``num_missing`` of four modalities absent at random.

    The exact 99.9 % interval of the share of windows beyond ``ALPHA`` must meet 0.8 to 1.2 times ``ALPHA``.
    """
    random = np.random.default_rng(num_missing)
    fuser = make(name)
    ps = random.uniform(size=(NUM_WINDOWS, 4))
    order = random.permuted(np.tile(np.arange(4), (NUM_WINDOWS, 1)), axis=1)[:, num_missing:]
    limit = -math.log10(ALPHA)
    count = 0
    for row, present in zip(ps.tolist(), order.tolist(), strict=True):
        surprise, _ = fuser.fuse([Evidence(channel="c", modality=MODALITIES[m], p=row[m] or 1e-9) for m in present])
        count += surprise >= limit
    interval = stats.binomtest(count, NUM_WINDOWS).proportion_ci(0.999, "exact")
    assert interval.low <= 1.2 * ALPHA
    assert interval.high >= 0.8 * ALPHA
    assert 0.7 * ALPHA <= count / NUM_WINDOWS <= 1.3 * ALPHA
