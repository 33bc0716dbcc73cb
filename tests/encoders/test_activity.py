from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmstream.encoders.activity import ActivityEncoder
from mmstream.encoders.stream import StreamEncoder
from mmstream.testing import make_window
from mmstream.types import Window


def share(encoder: ActivityEncoder, window: Window) -> float:
    answer = encoder.encode(window)
    assert answer is not None
    return float(answer.vector[0])


def with_field(part: float) -> Window:
    window = make_window()
    field = np.zeros((34, 60, 2), np.float32)
    field[:, : round(60 * part), 0] = 5.0
    return dataclasses.replace(window, frames=tuple(dataclasses.replace(f, motion=field) for f in window.frames))


def test_it_is_the_share_of_the_picture_that_moves() -> None:
    assert share(ActivityEncoder(), with_field(0.25)) == pytest.approx(0.25)
    assert share(ActivityEncoder(), with_field(0.0)) == 0.0


def test_without_vectors_it_is_the_share_that_changes_and_another_model() -> None:
    window = make_window(speed=None)
    frames = []
    for number, frame in enumerate(window.frames):
        luma = np.full(frame.luma.shape, 100, np.uint8)
        luma[:, : luma.shape[1] // 4] += 40 * (number % 2)
        frames.append(dataclasses.replace(frame, luma=luma))
    encoder = ActivityEncoder()
    assert share(encoder, dataclasses.replace(window, frames=tuple(frames))) == pytest.approx(0.25, abs=0.05)
    assert encoder.model == "changing-share@1"


def test_a_sleeping_feed_moves_nothing_and_keeps_its_model() -> None:
    asleep = make_window(speed=None)
    asleep = dataclasses.replace(asleep, frames=asleep.frames[:1])
    for waking in (with_field(0.5), make_window(speed=None)):
        encoder = ActivityEncoder()
        awake = encoder.encode(waking)
        answer = encoder.encode(asleep)
        assert awake is not None
        assert answer is not None
        assert answer.vector[0] == 0.0
        assert answer.model == awake.model


def packets(*, size: int = 1000, hz: float = 10.0, key: int = 8000) -> tuple[tuple[float, int, bool], ...]:
    return tuple((n / hz, key if n == 0 else size, n == 0) for n in range(int(2 * hz)))


def spent(encoder: StreamEncoder, *came: tuple[float, int, bool]) -> np.ndarray:
    answer = encoder.encode(Window(feed_id="cam", start_s=0.0, end_s=2.0, packets=came))
    assert answer is not None
    return answer.vector


def test_twice_the_bytes_is_one_more() -> None:
    once, twice = (spent(StreamEncoder(), *packets(size=size)) for size in (1000, 2000))
    assert twice - once == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=0.01)


def test_a_larger_key_frame_a_slower_rate_and_a_pause_each_show_in_their_place() -> None:
    usual = spent(StreamEncoder(), *packets())
    assert (spent(StreamEncoder(), *packets(key=16_000)) - usual)[1] == pytest.approx(1.0, abs=0.01)
    assert (spent(StreamEncoder(), *packets(hz=5.0)) - usual)[2] == pytest.approx(-1.0, abs=0.01)
    gap = tuple(item for item in packets() if not 0.45 < item[0] < 1.25)
    assert (spent(StreamEncoder(), *gap) - usual)[3] > 1.5


def test_the_last_key_frame_counts_on_and_before_the_first_nothing_is_said() -> None:
    encoder = StreamEncoder()
    assert encoder.encode(Window(feed_id="cam", start_s=0.0, end_s=2.0, packets=packets()[1:])) is None
    before = spent(encoder, *packets())
    assert spent(encoder, *packets()[1:])[1] == before[1]
