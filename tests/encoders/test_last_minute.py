"""The usual of the last minute: what moves it, and what does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmstream.encoders.last_minute import MAX_KEPT, LastMinute
from mmstream.types import Float32


def level(db: float) -> Float32:
    return np.array([db, -db], np.float32)


def usual_after(levels_db: list[float], *, from_s: float = 100.0) -> list[float]:
    last = LastMinute()
    return [float(last.usual(level(db), from_s + second)[0]) for second, db in enumerate(levels_db)]


def test_a_sound_of_twenty_seconds_does_not_move_it_and_a_lasting_one_does():
    heard = usual_after([-40.0] * 60 + [-10.0] * 20 + [-40.0] * 20)
    assert set(heard) == {-40.0}
    changed = usual_after([-40.0] * 60 + [-10.0] * 60)
    assert changed[60 + 20] == -40.0
    assert changed[60 + 40] == -10.0


def test_the_first_vector_is_its_own_background():
    assert usual_after([-12.0]) == [-12.0]


def test_after_a_minutes_pause_or_a_step_back_of_the_clock_it_starts_again():
    last = LastMinute()
    for second in range(60):
        last.usual(level(-40.0), float(second))
    assert last.usual(level(-10.0), 30.0)[0] == -10.0
    for second in range(31, 60):
        last.usual(level(-10.0), float(second))
    assert last.usual(level(-70.0), 200.0)[0] == -70.0


def test_windows_that_come_too_often_neither_grow_it_nor_count_more():
    last = LastMinute()
    for number in range(5000):
        last.usual(level(float(number % 3)), 100.0 + number / 100)
    assert len(last._kept) <= MAX_KEPT


@given(st.lists(st.floats(-100, 0, width=32), min_size=1, max_size=120))
def test_it_is_the_lower_median_of_the_last_sixty(levels_db: list[float]):
    expected = sorted(levels_db[-60:])[(len(levels_db[-60:]) - 1) // 2]
    assert usual_after(levels_db)[-1] == np.float32(expected)
