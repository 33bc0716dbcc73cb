"""Bursts in which something passes, and sounds like what it is: eight kinds, each with a row, a colour and a pitch."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS, MEL_BANDS, MEL_FRAMES, Burst, Glimpse

Int64 = npt.NDArray[np.int64]
NUM_KINDS = 8
SPLIT_S = 1e6
EVERY_S = 60.0


@functools.cache
def passings(feed_id: str, count: int, *, held_out: bool = False, mute: bool = False) -> tuple[Burst, ...]:
    random = np.random.default_rng([held_out, *feed_id.encode()])
    wall = np.random.default_rng([5, *feed_id.encode()]).integers(40, 200, (4, 4, 3)).repeat(28, 0).repeat(28, 1)
    return tuple(_burst(feed_id, held_out * SPLIT_S + n * EVERY_S, wall, random, mute=mute) for n in range(count))


def _burst(feed_id: str, start_s: float, wall: Int64, random: np.random.Generator, *, mute: bool) -> Burst:
    kind, left, step = int(random.integers(NUM_KINDS)), random.uniform(0, 60), random.choice([-8, 8])
    glimpses = []
    for number in range(BURST_WINDOWS):
        column = int(np.clip(left + step * number, 0, 90))
        picture = wall + random.normal(0, 4, wall.shape)
        picture[12 * kind : 12 * kind + 14, column : column + 20] = (kind * 30, 255 - kind * 30, 128)
        mel = random.normal(-14, 0.7, (MEL_BANDS, MEL_FRAMES))
        mel[4 + 7 * kind : 10 + 7 * kind] += 5 * np.exp(-(((column - 45) / 40) ** 2))
        at_s = start_s + number
        glimpses.append(
            Glimpse(
                start_s=at_s,
                end_s=at_s + 2,
                picture=np.clip(picture, 0, 255).astype(np.uint8),
                mel=None if mute else mel.astype(np.float32),
            )
        )
    return Burst(feed_id=feed_id, glimpses=tuple(glimpses))


class Reader:
    """Pickles, as those of a real corpus do."""

    def __init__(self, count: int, mute: Sequence[str]) -> None:
        self._count, self._mute = count, tuple(mute)

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        for held_out in (False, True):
            for burst in passings(feed_id, self._count, held_out=held_out, mute=feed_id in self._mute):
                if from_s <= burst.start_s < to_s:
                    yield burst


def make_corpus(feeds: Sequence[str], count: int, *, mute: Sequence[str] = ()) -> Corpus:
    """``count`` bursts of each feed to learn from, and as many held out."""
    return Corpus(
        feeds=tuple(feeds),
        from_s=0.0,
        split_s=SPLIT_S,
        to_s=2 * SPLIT_S,
        read_bursts=Reader(count, mute),
        encoders={"filterbank": {}},
    )
