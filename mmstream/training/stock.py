"""The bursts of a corpus as arrays, in memory, for networks that see and hear; and how batches are drawn from them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS, MEL_BANDS, MEL_FRAMES, PICTURE_PX, Burst
from mmstream.types import Float16, UInt8

NEIGHBOURS = 8
"""So many bursts of one feed stand in a batch together: others of the same camera are what is hard to tell apart."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stock:
    """N bursts, T windows each, 200 KB a burst."""

    pictures: UInt8
    """(N, T, PICTURE_PX, PICTURE_PX, 3), 0 where there was none."""
    mels: Float16
    """(N, T, MEL_BANDS, MEL_FRAMES); half precision resolves a hundredth of a decibel there."""
    has: npt.NDArray[np.bool_]
    """(N, T, 2): picture and sound are there."""
    feeds: npt.NDArray[np.int64]
    """(N,) number of the feed; bursts of one feed stand together, oldest first."""

    def __len__(self) -> int:
        return len(self.feeds)

    @classmethod
    def of(cls, corpus: Corpus, *, most: int) -> Stock:
        """The corpus's bursts to learn from, thinned evenly to ``most`` at the most, of each feed as many."""
        fair = max(1, most // max(1, len(corpus.feeds)))
        kept = [evenly(map(_lean, corpus.bursts(feed_id, "train")), fair) for feed_id in corpus.feeds]
        bursts = [burst for of_feed in kept for burst in of_feed]
        stock = cls(
            pictures=np.zeros((len(bursts), BURST_WINDOWS, PICTURE_PX, PICTURE_PX, 3), np.uint8),
            mels=np.zeros((len(bursts), BURST_WINDOWS, MEL_BANDS, MEL_FRAMES), np.float16),
            has=np.zeros((len(bursts), BURST_WINDOWS, 2), np.bool_),
            feeds=np.repeat(np.arange(len(kept)), [len(of_feed) for of_feed in kept]),
        )
        for row, burst in enumerate(bursts):
            stock._fill(row, burst)
        return stock

    def split(self, share: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """-> (rows to learn from, the newest ``share`` of each feed, one at least of two: to see how it goes)."""
        aside = np.zeros(len(self), np.bool_)
        for feed in np.unique(self.feeds):
            rows = np.flatnonzero(self.feeds == feed)
            if len(rows) > 1:
                aside[rows[len(rows) - max(1, round(share * len(rows))) :]] = True
        if not aside.any():
            aside[len(self) - max(1, round(share * len(self))) :] = True
        return np.flatnonzero(~aside), np.flatnonzero(aside)

    def _fill(self, row: int, burst: Burst) -> None:
        for number, glimpse in enumerate(burst.glimpses[:BURST_WINDOWS]):
            if glimpse.picture is not None:
                self.pictures[row, number], self.has[row, number, 0] = glimpse.picture, True
            if glimpse.mel is not None:
                self.mels[row, number], self.has[row, number, 1] = glimpse.mel, True


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How much there is to learn from."""

    num_bursts: int
    num_pictures: int
    num_sounds: int

    @classmethod
    def of(cls, corpus: Corpus) -> Counted:
        bursts = pictures = sounds = 0
        for burst in itertools.chain.from_iterable(corpus.bursts(feed_id, "train") for feed_id in corpus.feeds):
            bursts += 1
            pictures += sum(glimpse.picture is not None for glimpse in burst.glimpses)
            sounds += sum(glimpse.mel is not None for glimpse in burst.glimpses)
        return cls(num_bursts=bursts, num_pictures=pictures, num_sounds=sounds)


def evenly(bursts: Iterable[Burst], most: int) -> list[Burst]:
    """At most ``most`` of them, evenly spread, without ever holding more than twice as many.

    >>> evenly(range(10), 4)
    [0, 2, 6, 8]
    """
    kept: list[Burst] = []
    step = 1
    for number, burst in enumerate(bursts):
        if number % step:
            continue
        kept.append(burst)
        if len(kept) > 2 * most:
            kept, step = kept[::2], 2 * step
    count = min(most, len(kept))
    return [kept[(2 * place + 1) * len(kept) // (2 * count)] for place in range(count)]


def drawn(
    stock: Stock, rows: npt.NDArray[np.intp], *, batch: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.intp]]:
    """Every row once, in batches: `NEIGHBOURS` of a feed at a time, feeds mixed; a last batch of one is left out."""
    groups: list[npt.NDArray[np.intp]] = []
    for feed in np.unique(stock.feeds[rows]):
        own = random.permutation(rows[stock.feeds[rows] == feed])
        groups += np.array_split(own, -(-len(own) // NEIGHBOURS))
    order = np.concatenate([groups[place] for place in random.permutation(len(groups))])
    for first in range(0, len(order), batch):
        if len(chosen := order[first : first + batch]) > 1:
            yield chosen


def _lean(burst: Burst) -> Burst:
    """Without what moved: it is large, and not needed here."""
    return Burst(feed_id=burst.feed_id, glimpses=burst.glimpses)
