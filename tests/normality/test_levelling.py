"""Aspects on one scale: what is rare every few minutes is not rare."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mmstream.normality.levelling import BLOCK_S, MAX_BLOCKS, Level, Levelling

WINDOWS = 60


def taught(factor: float, *, num_blocks: int = 1440, seed: int = 0) -> Level:
    """Heights are ``factor`` times those of exact p-values."""
    level = Level()
    random = np.random.default_rng(seed)
    for number, p in enumerate(random.uniform(size=num_blocks * WINDOWS)):
        level.push(float(p) ** factor, float(number))
    return level


def test_nothing_is_changed_before_something_is_known() -> None:
    assert Level().p(0.003) == 0.003
    assert taught(3.0, num_blocks=5).p(0.003) == 0.003, "four blocks have passed"
    assert Levelling().p(("sound", ""), 0.003) == 0.003


def test_an_aspect_that_is_extremely_rare_every_few_minutes_is_not_rare() -> None:
    """Its p-values are the third power of exact ones: 1e-9 comes as often as 1e-3 should."""
    assert math.log10(taught(3.0).p(1e-6)) == pytest.approx(-2.0, abs=0.4)
    assert taught(1.0).p(1e-6) < 1e-5, "where they are exact they stay what they are"


def test_an_event_among_the_first_dozen_minutes_does_not_hide_the_next() -> None:
    """Of the demo's twelve events, which come every four minutes, seven were lost."""
    level = taught(1.0, num_blocks=4)
    for number in range(4, 12):
        level.push(1e-6 if number % 4 == 0 else 0.01, number * BLOCK_S)
    assert level.p(1e-6) < 1e-5


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_aspects_of_any_scale_are_above_a_height_equally_often(factor: float) -> None:
    level = taught(factor)
    fresh = np.random.default_rng(1).uniform(size=20_000)
    above = sum(level.p(float(p) ** factor) < 1e-3 for p in fresh)
    low, high = binom.ppf([0.0005, 0.9995], len(fresh), [0.5e-3, 2e-3])
    assert low <= above <= high, "a tail known from a day is exact to a factor of two"


@given(st.lists(st.floats(1e-8, 1.0), min_size=2, max_size=20))
def test_what_an_aspect_ranks_first_stays_first(values: list[float]) -> None:
    level = taught(2.0, num_blocks=40)
    ordered = sorted(values)
    levelled = [level.p(p) for p in ordered]
    assert levelled == sorted(levelled)
    assert all(1e-8 <= p <= 1.0 for p in levelled)


def test_a_few_events_do_not_hide_the_next_one() -> None:
    """A mean excess would: three sirens in four hours made the next one ordinary."""
    level = taught(1.0)
    before = level.p(1e-7)
    for number in range(3):
        level.push(1e-8, (1500 + 60 * number) * BLOCK_S)
        level.push(0.5, (1501 + 60 * number) * BLOCK_S)
    assert math.log10(level.p(1e-7)) == pytest.approx(math.log10(before), abs=0.5)


def test_a_day_of_minutes_is_kept_and_goes_on_exactly_after_a_restart() -> None:
    levels, again = Levelling(), Levelling()
    random = np.random.default_rng(2)
    for number in range(MAX_BLOCKS + 100):
        levels.push([(("sound", ""), float(random.uniform()))], number * BLOCK_S)
    record, arrays = levels.state()
    assert sum(array.nbytes for array in arrays.values()) <= 2 * 4 * MAX_BLOCKS
    again.load(json.loads(json.dumps(record)), arrays)
    for number in range(MAX_BLOCKS + 100, MAX_BLOCKS + 130):
        for kept in (levels, again):
            kept.push([(("sound", ""), 1e-4)], number * BLOCK_S)
        assert again.p(("sound", ""), 1e-5) == levels.p(("sound", ""), 1e-5)
