from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmstream.encoders.still import LEARN_S, StillEncoder
from mmstream.types import Embedding, Frame, UInt8, Window

HEIGHT, WIDTH = 135, 240
BAG = (slice(100, 112), slice(120, 132))


class Room:
    """A room with a camera's noise; ``things`` says what stands where at a moment, ``light`` how bright it is."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        walls = self.random.integers(40, 180, (9, 16)).repeat(15, 0).repeat(15, 1)
        self.empty = walls.astype(np.float32)
        self.light = 1.0
        self.things: list[tuple[slice, slice]] = []

    def picture(self) -> UInt8:
        picture = self.empty * self.light + self.random.normal(0, 3, self.empty.shape)
        for thing in self.things:
            picture[thing] = 230
        return np.clip(picture, 0, 255).astype(np.uint8)

    def window(self, start_s: float, things: list[list[tuple[slice, slice]]] | None = None) -> Window:
        frames = []
        for number in range(5):
            if things is not None:
                self.things = things[number]
            at_s = start_s + 0.4 * number
            frames.append(Frame(feed_id="hall", start_s=at_s, end_s=at_s, is_key=False, luma=self.picture()))
        return Window(feed_id="hall", start_s=start_s, end_s=start_s + 2, frames=tuple(frames))


def taught(room: Room, seconds: int = 60) -> StillEncoder:
    encoder = StillEncoder()
    for second in range(seconds):
        encoder.encode(room.window(float(second)))
    return encoder


def strongest(answer: Embedding | None) -> float:
    assert answer is not None
    return float(answer.vector.max())


def test_it_says_nothing_until_it_has_seen_the_empty_scene() -> None:
    room, encoder = Room(), StillEncoder()
    answers = [encoder.encode(room.window(float(second))) for second in range(60)]
    assert [answer is None for answer in answers].index(False) == pytest.approx(LEARN_S + 1, abs=2)
    assert all(answer is not None for answer in answers[40:])


def test_an_empty_room_gives_zeros_in_any_light() -> None:
    room = Room()
    encoder = taught(room)
    for second, light in enumerate((1.0, 1.2, 0.8, 1.3), 60):
        room.light = light
        assert strongest(encoder.encode(room.window(float(second)))) < 0.1


def test_a_bag_that_is_left_shows_within_seconds_where_it_is_and_stays_for_minutes() -> None:
    room = Room()
    encoder = taught(room)
    room.things = [BAG]
    answers = [encoder.encode(room.window(60.0 + second)) for second in range(180)]
    assert strongest(answers[4]) > 1.5
    assert strongest(answers[-1]) > 1.5
    answer = answers[10]
    assert answer is not None
    where = StillEncoder.locate(answer.vector, np.zeros_like(answer.vector))
    assert where is not None
    assert where.region is not None
    left, top, right, bottom = where.region
    assert left <= 120 / WIDTH <= 132 / WIDTH <= right + 1 / 16
    assert top <= 100 / HEIGHT <= 112 / HEIGHT <= bottom + 1 / 9
    assert (right - left) * (bottom - top) < 0.05


def test_a_bag_that_was_taken_away_leaves_no_trace() -> None:
    room = Room()
    encoder = taught(room)
    room.things = [BAG]
    for second in range(20):
        encoder.encode(room.window(60.0 + second))
    room.things = []
    answers = [encoder.encode(room.window(80.0 + second)) for second in range(30)]
    assert strongest(answers[-1]) < 0.1


def test_somebody_who_walks_through_leaves_no_trace() -> None:
    room = Room()
    encoder = taught(room)
    for second in range(10):
        walk = [[(slice(60, 100), slice(x, x + 14))] for x in range(20 * second, 20 * second + 20, 4)]
        assert strongest(encoder.encode(room.window(60.0 + second, walk))) < 0.7
    room.things = []
    assert strongest(encoder.encode(room.window(71.0))) < 0.1


def test_a_bag_is_not_forgotten_while_somebody_passes_in_front_of_it() -> None:
    room = Room()
    encoder = taught(room)
    room.things = [BAG]
    for second in range(20):
        encoder.encode(room.window(60.0 + second))
    walk = [[BAG, (slice(60, 120), slice(x, x + 30))] for x in (60, 80, 100, 120, 140)]
    assert strongest(encoder.encode(room.window(80.0, walk))) > 1.5


def test_what_stays_long_becomes_part_of_the_scene() -> None:
    room = Room()
    encoder = taught(room)
    room.things = [BAG]
    answers = [encoder.encode(room.window(60.0 + 5 * step)) for step in range(600)]
    assert strongest(answers[60]) > 1.0
    assert strongest(answers[-1]) < 0.1


def test_somebody_in_the_single_picture_of_a_sleeping_feed_does_not_stay() -> None:
    room = Room()
    encoder = taught(room)
    for second in range(6):
        room.things = [(slice(60, 100), slice(30 * second, 30 * second + 14))]
        window = room.window(60.0 + 2 * second)
        alone = dataclasses.replace(window, frames=window.frames[:1])
        assert strongest(encoder.encode(alone)) < 0.7
    room.things = [BAG]
    for second in range(12):
        window = room.window(80.0 + 2 * second)
        answer = encoder.encode(dataclasses.replace(window, frames=window.frames[:1]))
    assert strongest(answer) > 1.5
