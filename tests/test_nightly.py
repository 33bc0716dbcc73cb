"""What is kept of a day for the training at night."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.encoders.expectation_training import train_on
from mmstream.nightly import KEEP_S, NormalDay
from tests.encoders.street import SLOW, Thing, make_frame, make_street


def make_walker(start_s: float, x: float = 30.0):
    return make_frame(start_s, Thing(kind="walker", x=x, speed=SLOW))


def test_what_is_kept_is_what_was_shown_as_far_as_can_be_seen():
    day = NormalDay()
    day.push(make_frame(0.0))
    shown = make_walker(1.0)
    day.push(shown)
    (sample,) = day.samples()
    assert sample.at_s == 1.0
    assert np.abs(sample.luma.astype(int) - shown.luma).mean() < 3
    assert np.abs(sample.background.astype(int) - 121).mean() < 3
    assert sample.speeds.max() == pytest.approx(0.36 * SLOW, abs=0.03)


def test_pictures_in_which_nothing_moves_or_without_vectors_are_not_kept():
    day = NormalDay()
    day.push(make_frame(0.0))
    day.push(make_frame(2.0, Thing(kind="walker", x=30, speed=SLOW), motion=False))
    assert len(day) == 0


def test_a_young_camera_keeps_one_a_second():
    day = NormalDay()
    for number in range(50):
        day.push(make_walker(number * 0.2))
    assert len(day) == 10


@pytest.mark.parametrize("hours", [0.5, 10, 60])
def test_memory_is_bounded_and_what_is_kept_is_spread_over_the_last_day(hours: float):
    bound = 60_000
    day = NormalDay(max_bytes=bound)
    step_s = hours * 3600 / 300
    for number in range(300):
        day.push(make_walker(number * step_s, x=number % 96))
        assert day.size_bytes <= bound
    times_s = np.array([sample.at_s for sample in day.samples()])
    span_s = min(hours * 3600, KEEP_S)
    assert len(times_s) >= 10
    assert times_s[-1] - times_s[0] > 0.4 * span_s
    assert times_s[0] >= 300 * step_s - step_s - KEEP_S
    assert np.diff(times_s).max() < 0.25 * span_s


def test_what_was_not_normal_is_taken_out_again():
    day = NormalDay()
    for number in range(10):
        day.push(make_walker(float(number)))
    day.discard(3.0, 6.0)
    assert [sample.at_s for sample in day.samples()] == [0.0, 1.0, 2.0, 6.0, 7.0, 8.0, 9.0]
    assert day.size_bytes > 0


def test_a_net_can_be_trained_on_it():
    day = NormalDay()
    for number, frame in enumerate(make_street(115)):
        day.push(make_frame(float(number), Thing(kind="car", x=number % 96, speed=9.0)) if number % 2 else frame)
    for number, frame in enumerate(make_street(110)):
        day.push(_at(frame, 1000.0 + number))
    net = train_on(day.samples(), steps=2)
    assert net.num_frames == len(day)
    assert net.end_s == 1109.0


def _at(frame, start_s: float):
    import dataclasses

    return dataclasses.replace(frame, start_s=start_s, end_s=start_s + 0.2)


def test_a_bound_of_nothing_is_refused():
    with pytest.raises(ValueError, match="max_bytes"):
        NormalDay(max_bytes=0)
