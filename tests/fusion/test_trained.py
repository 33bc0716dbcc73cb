from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.errors import ConfigError
from mmstream.fusion.evidence import HarmonicMean
from mmstream.fusion.trained import ARRAYS, MAX_SURPRISE, MonotoneRule, TrainedFuser, on_scale_of
from mmstream.types import Evidence, Modality

ASPECTS: tuple[tuple[str, Modality], ...] = (
    ("movement", "picture"),
    ("still", "picture"),
    ("sound", "sound"),
    ("words", "words"),
    ("agreement:picture-sound", "agreement"),
)


def make_rule(seed: int = 0, *, strength: float = 1.0) -> MonotoneRule:
    random = np.random.default_rng(seed)
    arrays = {name: strength * random.normal(size=shape) for name, shape in ARRAYS.items()}
    arrays |= {name: np.abs(arrays[name]) for name in ("into", "out")}
    raw = tuple(np.sort(random.uniform(0.0, 8.0, 6)).tolist())
    return MonotoneRule(
        version="v1",
        factors={name: float(np.exp(random.normal())) for name, _ in ASPECTS},
        slopes={name: float(np.exp(0.3 * random.normal())) for name, _ in ASPECTS},
        arrays=arrays,
        raw=raw,
        read=tuple(np.sort(random.uniform(0.0, 6.0, 6)).tolist()),
    )


def make_evidence(heights: Sequence[float | None]) -> list[Evidence]:
    """One height, -log10 p, per aspect; None: it is missing."""
    return [
        Evidence(channel=name, modality=modality, p=float(10.0**-height))
        for (name, modality), height in zip(ASPECTS, heights, strict=True)
        if height is not None
    ]


heights = st.lists(st.none() | st.floats(0.0, 10.0), min_size=len(ASPECTS), max_size=len(ASPECTS))


@given(heights, st.integers(0, 50), st.integers(0, len(ASPECTS) - 1), st.floats(0.0, 6.0))
def test_surprise_never_falls_when_a_p_falls(found: list[float | None], seed: int, which: int, rarer_by: float) -> None:
    fuser = TrainedFuser(rule=make_rule(seed))
    before = found[which]
    rarer = [*found[:which], None if before is None else before + rarer_by, *found[which + 1 :]]
    assert fuser.fuse(make_evidence(rarer))[0] >= fuser.fuse(make_evidence(found))[0] - 1e-9


@given(heights, st.integers(0, 50))
def test_shares_are_those_of_the_modalities_that_are_there_and_add_up_to_one(
    found: list[float | None], seed: int
) -> None:
    evidence = make_evidence(found)
    surprise, shares = TrainedFuser(rule=make_rule(seed)).fuse(evidence)
    assert surprise >= 0.0
    assert math.isfinite(surprise)
    assert set(shares) == {item.modality for item in evidence}
    if evidence:
        assert math.fsum(shares.values()) == 1.0
        assert min(shares.values()) >= 0.0


@given(heights)
def test_untrained_it_is_the_harmonic_mean(found: list[float | None]) -> None:
    evidence = make_evidence(found)
    assert TrainedFuser().fuse(evidence)[0] == pytest.approx(HarmonicMean().fuse(evidence)[0], abs=1e-9)


def test_what_is_missing_is_not_what_is_ordinary() -> None:
    fuser = TrainedFuser()
    alone, beside = make_evidence([None, None, 4.0, None, None]), make_evidence([0.0, 0.0, 4.0, 0.0, 0.0])
    assert fuser.fuse(alone)[0] == pytest.approx(4.0)
    assert fuser.fuse(beside)[0] < 3.7


def test_the_modality_that_makes_it_unusual_has_the_share() -> None:
    _, shares = TrainedFuser(rule=make_rule(3, strength=0.2)).fuse(make_evidence([0.2, 0.3, 5.0, 0.1, 0.2]))
    assert max(shares, key=lambda name: shares[name]) == "sound"
    assert shares["sound"] > 0.9


def test_weights_of_verdicts_count_on_top_of_what_was_learned() -> None:
    evidence = make_evidence([0.2, 0.3, 4.0, None, None])
    quiet, loud = ({"picture": 1.0, "sound": weight} for weight in (0.1, 3.0))
    rule = make_rule(1)
    assert TrainedFuser(quiet, rule=rule).fuse(evidence)[0] < TrainedFuser(loud, rule=rule).fuse(evidence)[0]


def test_beyond_the_rarest_p_nothing_overflows() -> None:
    evidence = [Evidence(channel="sound", modality="sound", p=sys.float_info.min)]
    assert TrainedFuser().fuse(evidence)[0] == pytest.approx(MAX_SURPRISE)


def test_a_rule_survives_its_file() -> None:
    rule = make_rule(7)
    again = MonotoneRule.from_bytes(rule.to_bytes())
    assert (again.version, again.factors, again.slopes) == (rule.version, rule.factors, rule.slopes)
    assert (again.raw, again.read) == (rule.raw, rule.read)
    assert all(np.array_equal(again.arrays[name], rule.arrays[name]) for name in ARRAYS)
    assert MonotoneRule.from_bytes(rule.to_bytes(), version="20261122").version == "20261122"


@pytest.mark.parametrize("spoil", [b"", b"nonsense", make_rule().to_bytes()[:-9]], ids=["empty", "nonsense", "cut"])
def test_weights_that_are_none_are_refused_in_words(spoil: bytes) -> None:
    with pytest.raises(ConfigError, match="not the weights of trained fusion"):
        MonotoneRule.from_bytes(spoil)


def test_weights_of_another_format_are_refused() -> None:
    from safetensors.numpy import save

    with pytest.raises(ConfigError, match="something-else"):
        MonotoneRule.from_bytes(save({"a": np.zeros(1)}, {"format": "something-else"}))


def test_a_rule_that_would_fall_when_a_p_falls_cannot_be_made() -> None:
    arrays = {name: np.zeros(shape) for name, shape in ARRAYS.items()}
    with pytest.raises(ValueError, match="must not be negative"):
        MonotoneRule(arrays={**arrays, "out": np.full(ARRAYS["out"], -0.1)})
    with pytest.raises(ValueError, match="must ascend"):
        MonotoneRule(raw=(1.0, 0.0), read=(0.0, 1.0))
    with pytest.raises(ValueError, match="above 0"):
        MonotoneRule(slopes={"sound": 0.0})


@given(st.integers(0, 1000))
def test_on_its_scale_as_many_moments_reach_any_level_as_before(seed: int) -> None:
    random = np.random.default_rng(seed)
    usual, raw = random.exponential(1.0, 500), random.exponential(2.0, 500) + random.normal()
    fuser = TrainedFuser(rule=MonotoneRule(**dict(zip(("raw", "read"), on_scale_of(raw, usual), strict=True))))
    said = np.array([fuser._read(float(value)) for value in raw])
    for level in np.quantile(usual, (0.5, 0.9, 0.98, 0.995)):
        assert abs(int((said >= level).sum()) - int((usual >= level).sum())) <= 8


def test_weights_of_modalities_must_be_above_nothing() -> None:
    with pytest.raises(ValueError, match="above 0"):
        TrainedFuser({"picture": 0.0})
