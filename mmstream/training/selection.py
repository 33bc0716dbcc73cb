"""What of a corpus a trial replays: a part of a long past, evenly spread, and what events are cut out of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mmstream.errors import StageError
from mmstream.training.corpus import Corpus, Part
from mmstream.training.footage import Burst
from mmstream.types import Alert

MAX_TRAIN, MAX_HELD_OUT = 400, 200
"""Bursts of a feed that are replayed; of more, every n-th."""
MAX_BURSTS = 6000
"""Of all feeds together: a trial takes minutes, not hours."""
LEAST_TRAIN, LEAST_HELD_OUT = 24, 6
NUM_DONORS = 32
MAX_ALERTS = 40
"""Verdicts of each sort that are asked again, the newest of a feed."""
AROUND_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """The same for every model that is tried on a corpus."""

    corpus: Corpus
    num_used: Mapping[str, Mapping[Part, int]]
    """Feed with enough to be tried on -> how many bursts of each part are replayed."""
    steps: Mapping[str, Mapping[Part, int]]
    """Of those a feed has, every so-manieth."""
    donors: tuple[Burst, ...]
    """A few bursts of the training days to take things from."""

    @classmethod
    def of(cls, corpus: Corpus, *, seed: int) -> Selection:
        """Reads all footage once.

        Raises:
            StageError: no feed has enough; says how much is wanted.
        """
        donors = _Reservoir(NUM_DONORS, np.random.default_rng(seed))
        counts: dict[str, dict[Part, int]] = {}
        for feed_id in corpus.feeds:
            num_train = sum(donors.push(burst) for burst in corpus.bursts(feed_id, "train"))
            counts[feed_id] = {"train": num_train, "held_out": sum(1 for _ in corpus.bursts(feed_id, "held_out"))}
        enough = {f: n for f, n in counts.items() if n["train"] >= LEAST_TRAIN and n["held_out"] >= LEAST_HELD_OUT}
        if not enough:
            most = max(counts.values(), key=lambda n: n["train"], default={"train": 0, "held_out": 0})
            raise StageError(
                f"too little footage to try a model on: the best feed has {most['train']} bursts to learn from and "
                f"{most['held_out']} held out; {LEAST_TRAIN} and {LEAST_HELD_OUT} are wanted, so let it record on"
            )
        fair = MAX_BURSTS // len(enough)
        limits: dict[Part, int] = {
            "train": min(MAX_TRAIN, max(LEAST_TRAIN, fair * 2 // 3)),
            "held_out": min(MAX_HELD_OUT, max(LEAST_HELD_OUT, fair // 3)),
        }
        steps = {f: {part: -(-count // limits[part]) for part, count in n.items()} for f, n in enough.items()}
        num_used = {f: {part: -(-count // steps[f][part]) for part, count in n.items()} for f, n in enough.items()}
        return cls(corpus=corpus, num_used=num_used, steps=steps, donors=tuple(donors.kept))

    @property
    def feeds(self) -> tuple[str, ...]:
        return tuple(self.steps)

    def bursts(self, feed_id: str, part: Part) -> Iterator[Burst]:
        for number, burst in enumerate(self.corpus.bursts(feed_id, part)):
            if number % self.steps[feed_id][part] == 0:
                yield burst

    def judged(self, feed_id: str) -> list[Alert]:
        """The newest alerts about unusual things with a verdict of each sort, oldest first."""
        of_feed = sorted(
            (a for a in self.corpus.alerts if a.feed_id == feed_id and a.kind == "unusual"), key=lambda a: a.end_s
        )
        true = [alert for alert in of_feed if alert.verdict == "true"][-MAX_ALERTS:]
        false = [alert for alert in of_feed if alert.verdict == "false_alarm"][-MAX_ALERTS:]
        return sorted([*true, *false], key=lambda alert: alert.end_s)

    def footage_of(self, alert: Alert) -> list[Burst]:
        """Empty where none is kept any more."""
        read = self.corpus.read_bursts(alert.feed_id, alert.start_s - AROUND_S, alert.end_s + AROUND_S)
        return [burst for burst in read if burst.start_s < alert.end_s and alert.start_s < burst.end_s]


class _Reservoir:
    """Some of many, each as likely as any other (Vitter, 1985)."""

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self._size, self._random = size, random
        self._num_seen = 0
        self.kept: list[Burst] = []

    def push(self, burst: Burst) -> int:
        """-> 1: it has been counted."""
        self._num_seen += 1
        place = len(self.kept) if len(self.kept) < self._size else int(self._random.integers(self._num_seen))
        if place < self._size:
            small = dataclasses.replace(burst, motion=burst.motion[:1])
            self.kept[place : place + 1] = [small]
        return 1
