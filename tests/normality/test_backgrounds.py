"""When a background counts as known."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.backgrounds import CAPACITY, KNOWN_AFTER_S, LIMIT, Backgrounds
from mmstream.types import Float32

DIM = 8


def points(count: int, *, at: float = 0.0, seed: int = 0) -> Float32:
    found: Float32 = (np.random.default_rng(seed).normal(size=(count, DIM)) + at).astype(np.float32)
    return found


def teach(backgrounds: Backgrounds, rows: Float32, from_s: float = 0.0) -> float:
    for minute, row in enumerate(rows):
        for second in range(0, 60, 20):
            backgrounds.learn(row, from_s + 60.0 * minute + second)
    return from_s + 60.0 * len(rows)


def test_a_background_is_new_until_one_like_it_has_been_heard_for_an_hour():
    backgrounds = Backgrounds(dim=DIM)
    now_s = teach(backgrounds, points(180))
    other = points(120, at=6.0, seed=1)
    assert backgrounds.newness(points(1, seed=5)[0]) < LIMIT < backgrounds.newness(other[0])
    now_s = teach(backgrounds, other[:40], now_s)
    assert backgrounds.newness(other[50]) > LIMIT
    teach(backgrounds, other[40:80], now_s)
    assert KNOWN_AFTER_S < 80 * 60
    assert backgrounds.newness(other[90]) < LIMIT


def test_the_old_background_stays_known_while_the_new_one_is_learned():
    backgrounds = Backgrounds(dim=DIM)
    now_s = teach(backgrounds, points(180))
    teach(backgrounds, points(120, at=6.0, seed=1), now_s)
    assert backgrounds.newness(points(1, seed=7)[0]) < LIMIT


def test_nothing_is_told_in_the_first_minutes():
    backgrounds = Backgrounds(dim=DIM)
    teach(backgrounds, points(5))
    assert backgrounds.newness(points(1, at=50.0)[0]) == 0.0


def test_samples_span_days_in_bounded_room_and_the_first_day_is_still_known():
    backgrounds = Backgrounds(dim=DIM)
    now_s = teach(backgrounds, points(600))
    teach(backgrounds, points(1000, at=6.0, seed=1), now_s)
    assert len(backgrounds) <= CAPACITY
    assert backgrounds.newness(points(1, seed=3)[0]) < LIMIT


def test_it_goes_on_from_its_state_exactly():
    first, second = Backgrounds(dim=DIM), Backgrounds(dim=DIM)
    now_s = teach(first, points(100))
    second.load(first.state())
    for backgrounds in (first, second):
        teach(backgrounds, points(30, at=2.0, seed=2), now_s)
    query = points(1, at=1.0, seed=4)[0]
    assert first.newness(query) == pytest.approx(second.newness(query), abs=0.0)
    assert len(first) == len(second)
