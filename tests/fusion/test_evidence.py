from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.fusion.evidence import MODALITY_WEIGHTS, HarmonicMean
from mmstream.types import MODALITIES, Evidence


def make_evidence(**p: float) -> list[Evidence]:
    return [Evidence(channel=name, modality=name, p=value) for name, value in p.items()]


def test_no_evidence_is_no_surprise():
    assert HarmonicMean().fuse([]) == (0.0, {})


def test_one_modality_alone_keeps_its_p_value():
    surprise, shares = HarmonicMean().fuse(make_evidence(sensor=1e-4))
    assert surprise == pytest.approx(4.0)
    assert shares == {"sensor": 1.0}


def test_the_rarest_modality_decides_and_gets_the_share():
    surprise, shares = HarmonicMean().fuse(make_evidence(picture=0.6, sound=1e-5, words=0.3))
    assert surprise == pytest.approx(5 + math.log10(0.7 / 2.2), abs=0.01)
    assert shares["sound"] > 0.99


def test_independent_modalities_keep_the_nominal_rate_with_some_missing():
    random = np.random.default_rng(0)
    for names in (("picture", "sound", "words", "sensor"), ("picture", "words")):
        surprises = [
            HarmonicMean().fuse(make_evidence(**dict(zip(names, p, strict=True))))[0]
            for p in random.uniform(1e-12, 1.0, (20_000, len(names)))
        ]
        assert np.mean(np.array(surprises) >= 2.0) == pytest.approx(0.01, rel=0.35)


@given(st.dictionaries(st.sampled_from(MODALITIES), st.floats(1e-8, 1.0), min_size=1))
def test_shares_add_up_to_one_and_all_is_finite(p):
    surprise, shares = HarmonicMean().fuse(make_evidence(**p))
    assert math.fsum(shares.values()) == 1.0
    assert set(shares) == set(p)
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    assert 0.0 <= surprise <= 8.0 + 1e-9
    total = sum(MODALITY_WEIGHTS[name] / value for name, value in p.items())
    for name, value in p.items():
        assert shares[name] == pytest.approx(MODALITY_WEIGHTS[name] / value / total, abs=1e-9)


def test_a_weight_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        HarmonicMean({"picture": 0.0})
