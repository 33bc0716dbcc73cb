"""Bursts of made-up cameras: a still scene, somebody who walks through now and then, a hum and some noise."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS, MEL_BANDS, MEL_FRAMES, PICTURE_PX, Burst, Glimpse, MotionSample
from mmstream.types import Alert, Float32, UInt8, Verdict

EVERY_S = 60.0
START_S = 1_700_000_000.0


@functools.cache
def scene(feed_id: str) -> Float32:
    """(PICTURE_PX, PICTURE_PX, 3): the walls of a camera."""
    random = np.random.default_rng([7, *feed_id.encode()])
    blocks = random.uniform(40.0, 200.0, (8, 8, 3))
    return np.kron(blocks, np.ones((PICTURE_PX // 8, PICTURE_PX // 8, 1))).astype(np.float32)


@functools.cache
def hum(feed_id: str) -> Float32:
    """(MEL_BANDS, 1)"""
    random = np.random.default_rng([8, *feed_id.encode()])
    return np.convolve(random.normal(-12.0, 3.0, MEL_BANDS), np.ones(5) / 5, mode="same")[:, None].astype(np.float32)


@functools.lru_cache(maxsize=600)
def make_burst(feed_id: str, number: int, *, start_s: float = START_S, motion: bool = False) -> Burst:
    """Always the same for a feed and a number."""
    random = np.random.default_rng([9, number, *feed_id.encode()])
    burst_s = start_s + number * EVERY_S
    light = random.normal(0.0, 4.0)
    at, step = random.uniform(0.0, PICTURE_PX, 2), random.normal(0.0, 6.0, 2)
    glimpses = []
    for window in range(BURST_WINDOWS):
        picture = scene(feed_id) + light + random.normal(0.0, 2.0, (PICTURE_PX, PICTURE_PX, 3))
        row, col = (np.clip(at + window * step, 0, PICTURE_PX - 14)).astype(int)
        picture[row : row + 14, col : col + 6] = 20.0
        mel = hum(feed_id) + random.normal(0.0, 0.7, (MEL_BANDS, MEL_FRAMES)) + random.normal(0.0, 0.3)
        glimpses.append(
            Glimpse(
                start_s=burst_s + window,
                end_s=burst_s + window + 2.0,
                picture=np.clip(picture, 0, 255).astype(np.uint8),
                mel=mel.astype(np.float32),
            )
        )
    samples = tuple(make_sample(random, burst_s + 0.2 * n) for n in range(20)) if motion else ()
    return Burst(feed_id=feed_id, glimpses=tuple(glimpses), motion=samples)


def make_sample(random: np.random.Generator, at_s: float) -> MotionSample:
    background: UInt8 = np.full((48, 64), 90, np.uint8)
    luma, speeds = background.copy(), np.zeros((12, 16), np.float32)
    row, col = int(random.integers(0, 9)), int(random.integers(0, 13))
    luma[4 * row : 4 * row + 12, 4 * col : 4 * col + 12] = 30
    speeds[row : row + 3, col : col + 3] = random.uniform(0.8, 1.6)
    return MotionSample(at_s=at_s, luma=luma, background=background, speeds=speeds)


@dataclass(frozen=True, kw_only=True)
class Footage:
    """Reads bursts as they are asked for; pickles."""

    num_bursts: int
    motion: bool = False
    special: dict[tuple[str, int], Burst] = field(default_factory=dict)
    """(feed, number) -> what was recorded instead."""

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        for number in range(self.num_bursts):
            burst_s = START_S + number * EVERY_S
            if from_s <= burst_s < to_s:
                yield self.special.get((feed_id, number)) or make_burst(feed_id, number, motion=self.motion)


def make_corpus(
    feeds: Sequence[str] = ("gate", "yard"),
    *,
    num_train: int = 60,
    num_held_out: int = 24,
    motion: bool = False,
    alerts: Sequence[Alert] = (),
    special: dict[tuple[str, int], Burst] | None = None,
) -> Corpus:
    return Corpus(
        feeds=tuple(feeds),
        from_s=START_S,
        split_s=START_S + num_train * EVERY_S,
        to_s=START_S + (num_train + num_held_out) * EVERY_S,
        read_bursts=Footage(num_bursts=num_train + num_held_out, motion=motion, special=special or {}),
        alerts=tuple(alerts),
    )


def make_alert(feed_id: str, number: int, verdict: Verdict | None) -> Alert:
    """About the burst of that number."""
    start_s = START_S + number * EVERY_S
    return Alert(
        alert_id=f"{feed_id}:{round(start_s * 1000)}",
        feed_id=feed_id,
        start_s=start_s + 1.0,
        end_s=start_s + 4.0,
        state="closed",
        severity="alert",
        surprise=4.0,
        peak_s=start_s + 2.0,
        expected_every_s=40_000.0,
        shares={"picture": 1.0},
        verdict=verdict,
    )
