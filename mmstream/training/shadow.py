"""What a model would have done on days that it did not learn from: the site's own footage, replayed.

Per feed a fresh memory learns the channels' banks on the training days and the calibrator its threshold; then the
held-out days follow causally, every burst judged before it is learned. Into copies of held-out bursts events are put
(`training.events`), and what operators have said is asked again. `training.promote.judge` compares two such trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmstream.stages import Fuser
from mmstream.training import plain as plain_channels
from mmstream.training.corpus import Corpus
from mmstream.training.events import EVENTS, as_seen_in, seen_again
from mmstream.training.footage import Burst
from mmstream.training.promote import Trial
from mmstream.training.rates import Blocks
from mmstream.training.rehearsal import Heard, Rehearsal, Threshold, calibrated, num_openings
from mmstream.training.selection import Selection
from mmstream.types import Alert, Channel, Embedding

if TYPE_CHECKING:
    import torch

Encode = Callable[[Burst], Sequence[Sequence[Embedding]]]
"""A burst -> per glimpse the embeddings of the model's own channels; an empty list where it has nothing to say."""

MATURE = 128
"""Bursts, half a thousand windows: younger banks change their scale too often to set a threshold by."""
NUM_EVENTS = 160
MAX_PER_BURST = 4
"""Events of one kind put into copies of the same burst."""
SCENE_CHANGED_S = 1800.0
"""What has been unusual for so long is learned, as live."""
TIMED_BURSTS, TIMED_ROUNDS = 12, 7


def shadow_trial(
    corpus: Corpus,
    *,
    encode: Encode | None,
    channels: Mapping[str, Channel],
    events: Sequence[str],
    seed: int = 0,
    memory_bytes: int = 0,
    fuser: Fuser | None = None,
    clock: Callable[[], float] = time.process_time,
) -> Trial:
    """Try a model, or the site without one, on the held-out part of a corpus.

    ``encode`` gives the model's own embeddings, in ``channels`` (by name); None: the site without the model. Both
    sides are also given what the site measures anyway (`training.plain`: appearance, motion, sound), unless
    ``channels`` has one of that name. ``events``: names in `events.EVENTS` that the model is for. The same corpus,
    events and seed give the same events whatever the model is. ``memory_bytes``: of the model (`bytes_of`). ``fuser``:
    how modalities become one number; None: harmonic mean. A model of one feed is tried on
    ``dataclasses.replace(corpus, feeds=(feed,))``.

    ``clock`` measures `encode`, which must therefore not remember what it has said: CPU seconds of this process, the
    least of several rounds, so that what else runs on the machine counts on neither side. Without a version in use
    there is nothing to compare costs with: `night` lets the new version's stand for both.

    Raises:
        StageError: too little footage; says how much is wanted.
        KeyError: there is no such event.
    """
    replay = _Replay(corpus, encode=encode, channels=channels, events=events, seed=seed, fuser=fuser)
    for feed_id in replay.selection.feeds:
        replay.run(feed_id)
    return Trial(
        found=replay.found,
        confirmed=replay.confirmed,
        absorbed=replay.absorbed,
        num_alerts=replay.num_alerts,
        blocks=tuple(replay.blocks),
        window_s=seconds_per_window(encode, replay.timed, clock=clock) if encode is not None else 0.0,
        memory_bytes=memory_bytes,
        normal_above=tuple(replay.normal_above),
        events_above=tuple(replay.events_above),
    )


def seconds_per_window(encode: Encode, bursts: Sequence[Burst], *, clock: Callable[[], float]) -> float:
    """95th percentile over the bursts of the time for one window, of each burst the least of `TIMED_ROUNDS`."""
    least = np.full(len(bursts), np.inf)
    for _ in range(TIMED_ROUNDS):
        for number, burst in enumerate(bursts):
            start = clock()
            encode(burst)
            least[number] = min(least[number], (clock() - start) / len(burst.glimpses))
    return float(np.quantile(least, 0.95)) if len(bursts) else 0.0


def bytes_of(module: torch.nn.Module) -> int:
    """Parameters and buffers: what a model holds in memory."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@dataclass(slots=True, kw_only=True, eq=False)
class _Course:
    """How far the replay of one feed has come."""

    rehearsal: Rehearsal
    random: np.random.Generator
    asked: list[Alert]
    """Alerts with verdicts, oldest first, that have not been asked about again."""
    unusual_since_s: float | None = None
    maxima: list[float] = field(default_factory=list)
    """Of the held-out bursts."""


class _Replay:
    """Walks over the feeds, and gathers what they gave."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        encode: Encode | None,
        channels: Mapping[str, Channel],
        events: Sequence[str],
        seed: int,
        fuser: Fuser | None,
    ) -> None:
        self._encode, self._seed, self._fuser = encode, seed, fuser
        self._kinds = {name: EVENTS[name] for name in events}
        self._own = dict(channels)
        self._beside = {name: c for name, c in plain_channels.CHANNELS.items() if name not in channels}
        self.selection = Selection.of(corpus, seed=seed)
        num_held_out = sum(used["held_out"] for used in self.selection.num_used.values())
        self._share = min(float(MAX_PER_BURST), NUM_EVENTS / (num_held_out * max(1, len(self._kinds))))
        """Events of each kind per held-out burst."""
        self.found: dict[str, bool] = {}
        self.confirmed: dict[str, bool] = {}
        self.absorbed: dict[str, bool] = {}
        self.num_alerts = 0
        self.blocks: list[Blocks] = []
        self.timed: list[Burst] = []
        self.normal_above: list[float] = []
        self.events_above: list[float] = []

    def run(self, feed_id: str) -> None:
        course = _Course(
            rehearsal=Rehearsal({**self._beside, **self._own}, self._fuser),
            random=np.random.default_rng([self._seed, *feed_id.encode()]),
            asked=self.selection.judged(feed_id),
        )
        threshold = self._learn(feed_id, course)
        self._ask_again(course, threshold, until_s=self.selection.corpus.split_s)
        for burst in self.selection.bursts(feed_id, "held_out"):
            self._ask_again(course, threshold, until_s=burst.start_s)
            self._put_events(burst, course, threshold)
            self._go_on(burst, course, threshold)
        self._ask_again(course, threshold, until_s=float("inf"))
        self.num_alerts += num_openings(course.maxima, threshold)
        if math.isfinite(threshold.levels.alert):  # without a threshold it can raise nothing
            self.blocks.append(
                Blocks(rank=threshold.rank, num_calibrated=threshold.num_blocks, num_new=len(course.maxima))
            )

    def _learn(self, feed_id: str, course: _Course) -> Threshold:
        """The training days: banks from all of them, the threshold from the last half to two thirds."""
        count = self.selection.num_used[feed_id]["train"]
        first = max(count // 3, min(count // 2, MATURE))
        maxima = []
        for number, burst in enumerate(self.selection.bursts(feed_id, "train")):
            heard = self._hear(burst, course)
            course.rehearsal.learn(heard)
            if number >= first and heard.known:
                maxima.append(heard.value)
        return calibrated(maxima, alerts_per_day=self.selection.corpus.alerts_per_day.get(feed_id, 2.0))

    def _go_on(self, burst: Burst, course: _Course, threshold: Threshold) -> None:
        """A normal burst of the held-out days."""
        if len(self.timed) < TIMED_BURSTS:
            self.timed.append(burst)
        heard = self._hear(burst, course)
        course.maxima.append(heard.value)
        self.normal_above.append(threshold.above(heard.value))
        if threshold.is_alert(heard.value):
            course.unusual_since_s = since_s = course.unusual_since_s or burst.start_s
            if burst.end_s - since_s < SCENE_CHANGED_S:
                return  # in quarantine
        else:
            course.unusual_since_s = None
        course.rehearsal.learn(heard)

    def _put_events(self, burst: Burst, course: _Course, threshold: Threshold) -> None:
        for kind, inject in self._kinds.items():
            for number in range(int(self._share) + (course.random.random() < self._share % 1.0)):
                # a generator of its own: what one kind draws must not move what the next one does
                own = np.random.default_rng(course.random.integers(2**63))
                changed = inject(burst, self.selection.donors, own)
                if changed is not None:
                    heard = self._hear(as_seen_in(burst, changed), course)
                    event = f"{burst.feed_id}:{round(burst.start_s * 1000)}-{kind}-{number}"
                    self.found[event] = threshold.is_alert(heard.value)
                    self.events_above.append(threshold.above(heard.value))

    def _ask_again(self, course: _Course, threshold: Threshold, *, until_s: float) -> None:
        """Alerts that were over by then: the confirmed must be found, the false ones, once absorbed, not."""
        while course.asked and course.asked[0].end_s <= until_s:
            alert = course.asked.pop(0)
            bursts = self.selection.footage_of(alert)
            if not bursts:
                continue
            if alert.verdict == "true":
                values = [self._hear(burst, course).value for burst in bursts]
                self.confirmed[alert.alert_id] = any(threshold.is_alert(value) for value in values)
                continue
            for number, burst in enumerate(bursts):
                course.rehearsal.absorb(self._hear(burst, course), f"{alert.alert_id}-{number}")
            again = [self._hear(seen_again(burst, course.random), course).value for burst in bursts]
            self.absorbed[alert.alert_id] = any(threshold.is_alert(value) for value in again)

    def _hear(self, burst: Burst, course: _Course) -> Heard:
        beside: Sequence[Sequence[Embedding]] = [()] * len(burst.glimpses)
        if self._beside:
            beside = [[e for e in found if e.channel in self._beside] for found in plain_channels.plain(burst)]
        own = self._encode(burst) if self._encode is not None else [()] * len(burst.glimpses)
        together = [(*theirs, *ours) for theirs, ours in zip(beside, own, strict=True)]
        return course.rehearsal.hear(burst, together)
