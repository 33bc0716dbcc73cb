"""Sensors as one vector, whatever they are called."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmstream.encoders.readings import NUM_SLOTS, ReadingsEncoder
from mmstream.types import Float32, Reading, Window


def make_window(start_s: float, *readings: tuple[str, float, float]) -> Window:
    """Readings are (sensor, at_s, value)."""
    return Window(
        feed_id="cam",
        start_s=start_s,
        end_s=start_s + 2.0,
        readings=tuple(
            Reading(feed_id="cam", start_s=at_s, end_s=at_s, sensor=sensor, value=value)
            for sensor, at_s, value in readings
        ),
    )


def encode(encoder: ReadingsEncoder, window: Window) -> Float32:
    answer = encoder.encode(window)
    assert answer is not None
    assert answer.vector.shape == (encoder.dim,)
    return answer.vector.reshape(NUM_SLOTS, 3)


def used(slots: Float32) -> list[tuple[float, ...]]:
    return [tuple(map(float, slot)) for slot in slots if slot.any()]


def test_a_slot_holds_mean_last_and_change() -> None:
    encoder = ReadingsEncoder()
    slots = encode(encoder, make_window(0.0, ("heat", 0.1, 20.0), ("heat", 1.1, 24.0)))
    assert used(slots) == [(22.0, 24.0, 4.0)]
    slots = encode(encoder, make_window(1.0, ("heat", 1.1, 24.0), ("heat", 2.1, 30.0)))
    assert used(slots) == [(27.0, 30.0, 10.0)]


def test_a_rare_reading_is_compared_with_the_one_before_in_both_windows_that_hold_it() -> None:
    encoder = ReadingsEncoder()
    encode(encoder, make_window(0.0, ("heat", 0.5, 20.0)))
    for start_s in (59.0, 60.0):
        assert used(encode(encoder, make_window(start_s, ("heat", 60.5, 26.0)))) == [(26.0, 26.0, 6.0)]


def test_a_silent_sensor_keeps_its_last_value() -> None:
    encoder = ReadingsEncoder()
    encode(encoder, make_window(0.0, ("heat", 0.5, 20.0), ("door", 0.5, 1.0)))
    slots = encode(encoder, make_window(5.0, ("heat", 5.5, 21.0)))
    assert sorted(used(slots)) == [(1.0, 1.0, 0.0), (21.0, 21.0, 1.0)]


def test_sensors_keep_their_slots_when_others_come_and_each_has_its_own() -> None:
    encoder = ReadingsEncoder()
    names = [f"sensor-{number}" for number in range(NUM_SLOTS)]
    before = encode(encoder, make_window(0.0, *[(name, 0.5, 1.0 + n) for n, name in enumerate(names[:8])]))
    after = encode(encoder, make_window(1.0, *[(name, 1.5, 1.0 + n) for n, name in enumerate(names)]))
    assert sorted(slot[1] for slot in used(after)) == [1.0 + n for n in range(NUM_SLOTS)]
    for old, new in zip(before, after, strict=True):
        assert not old.any() or old[1] == new[1]


def test_two_encoders_give_the_same_sensors_the_same_slots() -> None:
    window = make_window(0.0, ("heat", 0.5, 20.0), ("door", 0.5, 1.0), ("smoke", 0.5, 3.0))
    assert encode(ReadingsEncoder(), window).tobytes() == encode(ReadingsEncoder(), window).tobytes()


def test_more_sensors_than_slots_share_and_never_fail() -> None:
    encoder = ReadingsEncoder()
    slots = encode(encoder, make_window(0.0, *[(f"s{n}", 0.5, 1.0) for n in range(50)]))
    assert len(used(slots)) == NUM_SLOTS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reading_that_is_no_number_is_left_out(value: float) -> None:
    assert ReadingsEncoder().encode(make_window(0.0, ("heat", 0.5, value))) is None
    assert used(encode(ReadingsEncoder(), make_window(0.0, ("heat", 0.5, value), ("heat", 0.6, 2.0)))) == [
        (2.0, 2.0, 0.0)
    ]


def test_a_reading_beyond_all_measure_stays_finite() -> None:
    slots = encode(ReadingsEncoder(), make_window(0.0, ("heat", 0.5, 1e300)))
    assert np.isfinite(slots**2).all()


def test_no_readings_are_absent_and_not_zero() -> None:
    encoder = ReadingsEncoder()
    encode(encoder, make_window(0.0, ("heat", 0.5, 20.0)))
    assert encoder.encode(make_window(2.0)) is None
