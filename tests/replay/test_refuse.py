"""Fusing a whole past at once gives what fusing window by window gave."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.errors import ConfigError
from mmstream.fusion import FUSERS
from mmstream.replay.refuse import RULES, fused
from mmstream.replay.strips import Aspect
from mmstream.stages import load
from mmstream.types import MODALITIES, Evidence

WEIGHTS = st.dictionaries(st.sampled_from(MODALITIES), st.floats(0.1, 10.0))
HEIGHTS = st.one_of(st.just(math.nan), st.just(0.0), st.integers(0, 12_000).map(lambda steps: steps / 1000.0))


@st.composite
def pasts(draw: st.DrawFn) -> tuple[list[Aspect], list[list[float]]]:
    names = [f"aspect{number}" for number in range(draw(st.integers(1, 6)))]
    aspects = [(name, draw(st.sampled_from(MODALITIES)), draw(st.floats(0.1, 3.0))) for name in names]
    rows = draw(st.lists(st.lists(HEIGHTS, min_size=len(names), max_size=len(names)), min_size=1, max_size=5))
    return aspects, rows


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=120, deadline=None)
@given(past=pasts(), weights=WEIGHTS)
def test_every_rule_gives_the_same_over_arrays_as_window_by_window(
    rule: str, past: tuple[list[Aspect], list[list[float]]], weights: dict[str, float]
) -> None:
    aspects, rows = past
    fuser = load(FUSERS, rule)(weights)
    one_by_one = [
        fuser.fuse(
            [
                Evidence(channel=name, modality=modality, p=math.pow(10.0, -height), weight=weight)
                for (name, modality, weight), height in zip(aspects, row, strict=True)
                if not math.isnan(height)
            ]
        )[0]
        for row in rows
    ]
    np.testing.assert_allclose(fused(rule, np.array(rows), aspects, weights), one_by_one, rtol=1e-6, atol=1e-9)


def test_windows_without_evidence_and_pasts_without_aspects_are_not_unusual() -> None:
    assert fused("fisher", np.full((2, 1), np.nan), [("sound", "sound", 1.0)], {}).tolist() == [0.0, 0.0]
    assert fused("harmonic", np.zeros((3, 0)), [], {}).tolist() == [0.0] * 3


def test_a_rule_that_cannot_be_replayed_is_named_with_those_that_can() -> None:
    with pytest.raises(ConfigError, match=r"'vote'.*harmonic, mean"):
        fused("vote", np.zeros((1, 1)), [("sound", "sound", 1.0)], {})
