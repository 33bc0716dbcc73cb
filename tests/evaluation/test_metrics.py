from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.evaluation.metrics import at_threshold, auc, auc_interval, runs


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_counts_pairs_and_ties_as_half(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in pairs])
    unusual = np.array([flag for _, flag in pairs])
    normal, other = scores[~unusual], scores[unusual]
    if not len(normal) or not len(other):
        assert math.isnan(auc(scores, unusual))
        return
    wins = [(o > n) + 0.5 * (o == n) for o in other for n in normal]
    assert auc(scores, unusual) == pytest.approx(sum(wins) / len(wins))


def test_the_interval_is_over_clips_and_contains_what_was_measured() -> None:
    random = np.random.default_rng(1)
    scores = {f"clip{number}": random.normal(size=60) for number in range(8)}
    flags = {name: np.arange(60) >= 30 for name in scores}
    for name in scores:
        scores[name][30:] += 1.0
    value = auc(np.concatenate(list(scores.values())), np.concatenate(list(flags.values())))
    low, high = auc_interval(scores, flags, num_draws=200)
    assert low < value < high
    assert auc_interval(scores, flags, num_draws=200) == (low, high), "the same seed gives the same interval"
    assert 0.02 < high - low < 0.2


def test_clips_without_unusual_frames_have_no_interval() -> None:
    low, high = auc_interval({"a": np.zeros(3)}, {"a": np.zeros(3, np.bool_)}, num_draws=5)
    assert math.isnan(low)
    assert math.isnan(high)


def test_a_threshold_is_judged_by_events_found_normal_frames_above_it_and_delay() -> None:
    scores = {"a": np.array([0.0, 9.0, 0.0, 9.0, 9.0]), "b": np.array([0.0, 0.0])}
    flags = {"a": np.array([False, False, True, True, True]), "b": np.array([True, True])}
    times_s = {"a": np.arange(5) / 10, "b": np.arange(2) / 10}
    found = at_threshold(scores, times_s, flags, 5.0)
    assert found.event_recall == 0.5
    assert found.false_frame_rate == 0.5
    assert found.delays_s == (pytest.approx(0.1),)


def test_runs_are_half_open() -> None:
    assert runs(np.array([False, True, True, False, True])) == [(1, 3), (4, 5)]
    assert runs(np.zeros(3, np.bool_)) == []
