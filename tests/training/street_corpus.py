"""Footage of the drawn street: dark walkers, which are slow, and bright cars, which are fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmstream.encoders.expectation_input import speeds_of
from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS, Burst, Glimpse, MotionSample
from mmstream.types import Alert
from tests.encoders.street import FAST, SHAPE, SLOW, Thing, make_frame

EVERY_S = 60.0
START_S = 1_700_000_000.0
SAMPLES = BURST_WINDOWS + 1
"""A picture a second."""
EMPTY = np.full(SHAPE, 121, np.uint8)


def make_sample(at_s: float, *things: Thing) -> MotionSample:
    frame = make_frame(at_s, *things)
    speeds = speeds_of(frame)
    assert speeds is not None
    return MotionSample(at_s=at_s, luma=frame.luma, background=EMPTY, speeds=speeds)


def make_burst(feed_id: str, number: int) -> Burst:
    """Always the same for a feed and a number: a walker and a car, each at its own pace."""
    random = np.random.default_rng([number, *feed_id.encode()])
    burst_s = START_S + number * EVERY_S
    slow, fast = random.uniform(0.7, 1.3, 2)
    at, car_at = random.uniform(10, 86, 2)
    motion = tuple(
        make_sample(
            burst_s + n,
            Thing(kind="walker", x=(at + 2.0 * n) % 96, speed=SLOW * slow),
            Thing(kind="car", x=(car_at + 7.0 * n) % 96, speed=FAST * fast),
        )
        for n in range(SAMPLES)
    )
    glimpses = tuple(Glimpse(start_s=burst_s + n, end_s=burst_s + n + 2.0) for n in range(BURST_WINDOWS))
    return Burst(feed_id=feed_id, glimpses=glimpses, motion=motion)


@dataclass(frozen=True, kw_only=True)
class Street:
    """Reads bursts as they are asked for; pickles."""

    num_bursts: int

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        for number in range(self.num_bursts):
            if from_s <= START_S + number * EVERY_S < to_s:
                yield make_burst(feed_id, number)


def make_corpus(
    feeds: Sequence[str] = ("street",), *, num_train: int = 60, num_held_out: int = 40, alerts: Sequence[Alert] = ()
) -> Corpus:
    return Corpus(
        feeds=tuple(feeds),
        from_s=START_S,
        split_s=START_S + num_train * EVERY_S,
        to_s=START_S + (num_train + num_held_out) * EVERY_S,
        read_bursts=Street(num_bursts=num_train + num_held_out),
        alerts=tuple(alerts),
    )
