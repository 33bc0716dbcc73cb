from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.fusion.evidence import HarmonicMean
from mmstream.fusion.weights import LEAST, MOST, VerdictWeights

START = {"picture": 1.0, "sound": 0.7, "words": 0.5, "sensor": 0.5}


def test_without_verdicts_nothing_changes():
    assert VerdictWeights(START).weights() == START


def test_a_modality_of_false_alarms_loses_to_one_of_true_ones():
    weights = VerdictWeights(START)
    for number in range(20):
        weights.push(f"f{number}", "false_alarm", {"sound": 0.9, "picture": 0.1})
        weights.push(f"t{number}", "true", {"picture": 0.8, "sound": 0.2})
    found = weights.weights()
    assert found["picture"] > START["picture"]
    assert found["sound"] < 0.5 * START["sound"]
    HarmonicMean(found)


def test_a_verdict_said_again_or_changed_counts_once_as_it_stands():
    once, often = VerdictWeights(START), VerdictWeights(START)
    once.push("a", "true", {"sound": 1.0})
    for verdict in ("false_alarm", "true", "true"):
        often.push("a", verdict, {"sound": 1.0})
    assert often.weights() == once.weights()
    often.push("a", "unsure", {"sound": 1.0})
    assert often.weights() == START
    assert often.verdict("a") is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["true", "false_alarm", "unsure"]), st.sampled_from(sorted(START)), st.floats(0, 1)),
        max_size=400,
    )
)
def test_weights_stay_in_bounds_and_are_kept(said):
    first, second = VerdictWeights(START), VerdictWeights(START)
    for number, (verdict, modality, share) in zip(itertools.count(), said, strict=False):
        first.push(f"{number}", verdict, {modality: share})
    found = first.weights()
    assert all(LEAST <= weight <= MOST for weight in found.values())
    second.load(json.loads(json.dumps(first.state())))
    assert second.weights() == found
    assert len(first) <= 256


def test_the_sum_stays_what_it_was():
    weights = VerdictWeights(START)
    weights.push("a", "true", {"sound": 1.0})
    assert sum(weights.weights().values()) == pytest.approx(sum(START.values()))
