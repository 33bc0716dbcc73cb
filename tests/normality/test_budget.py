"""All that one feed has learned, by day and in infrared, stays within 4 MiB."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest

from mmstream.config import EncoderSection
from mmstream.encoders import EDGE_ENCODERS
from mmstream.encoders.filterbank import FilterBankEncoder
from mmstream.normality.memory import Memory
from mmstream.stages import EdgeEncoder, load
from mmstream.types import AlignedWindow, Channel, Embedding, Mode

MIB = 1024 * 1024
NUM_WINDOWS = 1000
NUM_SCORES = 6200


class Feed:
    """A feed on which everything is always new: the most that can be remembered of every channel."""

    def __init__(self) -> None:
        edge: list[EdgeEncoder] = [load(EDGE_ENCODERS, name)() for name in EncoderSection().edge]
        self.encoders: list[tuple[Channel, int, str]] = [(e.channel, e.dim, e.model) for e in edge]
        self.encoders.append((FilterBankEncoder.channel, FilterBankEncoder.dim, FilterBankEncoder.model))
        self.memory = Memory({channel.name: channel for channel, _, _ in self.encoders})
        self.random = np.random.default_rng(0)
        self.at_s = 1_700_000_000.0

    def window(self, mode: Mode = "") -> AlignedWindow:
        self.at_s += 30.0
        embeddings = tuple(
            Embedding(
                feed_id="cam",
                start_s=self.at_s,
                end_s=self.at_s + 2,
                channel=channel.name,
                vector=np.abs(self.random.normal(size=dim)).astype(np.float32),
                model=model,
            )
            for channel, dim, model in self.encoders
        )
        return AlignedWindow(feed_id="cam", start_s=self.at_s, end_s=self.at_s + 2, embeddings=embeddings, mode=mode)


def suffer(feed: Feed, name: str) -> None:
    from_s = feed.at_s
    for _ in range(64):
        feed.memory.keep(feed.memory.weigh(feed.window()).lesson, hold=True)
    feed.memory.discard(from_s, name)


@pytest.fixture(scope="module")
def full() -> Feed:
    feed = Feed()
    modes: tuple[Mode, ...] = ("", "infrared")
    for mode in modes:
        for _ in range(NUM_WINDOWS):
            feed.memory.keep(feed.memory.weigh(feed.window(mode)).lesson, hold=False)
    for ranks in [history._ranks for history in feed.memory._histories.values()]:
        for second in range(NUM_SCORES):  # what a week brings, without waiting for them
            ranks.add(float(feed.random.normal()), feed.at_s + 120.0 * second)
    for number in range(8):
        suffer(feed, f"alert-{number}")
    feed.memory.confirm("alert-7")
    return feed


def arrays_of(item: object, seen: set[int]) -> int:
    """Bytes of all arrays that can be reached from ``item``."""
    if id(item) in seen or isinstance(item, type):
        return 0
    seen.add(id(item))
    if isinstance(item, np.ndarray):
        return item.nbytes if item.base is None else arrays_of(item.base, seen)
    return sum(arrays_of(other, seen) for other in gc.get_referents(item) if type(other).__name__ not in _FOREIGN)


_FOREIGN = ("module", "function", "builtin_function_or_method")


def test_what_is_kept_of_a_full_feed_is_at_most_4_mib(full):
    record, arrays = full.memory.state()
    kept = sum(array.nbytes for array in arrays.values()) + len(json.dumps(record))
    sizes = {}
    for name, array in arrays.items():
        sizes[name.partition(".")[0]] = sizes.get(name.partition(".")[0], 0) + array.nbytes
    assert kept <= 4 * MIB, sizes


def test_what_a_full_feed_holds_in_memory_is_at_most_4_mib(full):
    assert arrays_of(full.memory, set()) <= 4 * MIB
