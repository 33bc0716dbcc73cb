"""Moments that wait to be put to a model: bounded, the most unusual first, fair to every feed.

Speech models and describers are far too slow for every window, so a shard asks them about single moments. Whoever wants
to know something about what a feed shows says so as a `PictureQuestion`: fusion puts it into ``FuseReply.questions``
(the shard has the pictures), and the `PictureAnswer` comes with a later ``FuseBatch.answers``: once, in any case, with
an empty text when there was no model, no picture, no room or no time. Rules ask for a confirmation this way
(``role="captions"``, ``tier=Tier.CONFIRM``, ``within_s``), alerts for their narration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

LIVE_WITHIN_S = 30.0
"""What a live feed showed so long ago is not worth asking about any more."""
PATIENT_WITHIN_S = 300.0
"""So long a recording stands still for a model that does not answer."""

Role = Literal["speech", "captions", "narration"]


class Tier(IntEnum):
    """What comes first, whatever else waits."""

    SPOKEN = 0
    """Somebody speaks, nothing is unusual: when there is time."""
    UNUSUAL = 1
    NARRATE = 2
    """An alert waits for its sentences."""
    CONFIRM = 3
    """A rule's alert is held until the answer comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Fusion to shard: this window is unusual, words about it are wanted."""

    feed_id: str
    start_s: float
    end_s: float
    surprise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureQuestion:
    """Fusion to shard: what does the feed show there?"""

    feed_id: str
    question_id: str
    """Returned with the answer; asked again while it waits, it is the same question."""
    role: Role
    """Which of the models of ``understanding`` is asked: ``captions`` or ``narration``."""
    prompt: str
    at_s: tuple[float, ...] = ()
    """A picture of each of these moments goes with it, as far as there still is one."""
    needs_picture: bool = True
    """False: worth asking without any (a model that retells)."""
    tier: Tier = Tier.CONFIRM
    surprise: float = 0.0
    within_s: float = LIVE_WITHIN_S
    """Not asked any more, and answered with nothing, when it has waited for so long."""
    max_words: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureAnswer:
    """Shard to fusion: what the model said; empty when it said nothing or was not asked."""

    feed_id: str
    question_id: str
    role: Role
    text: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiting:
    """A moment in the queue. Exactly one of ``start`` and ``drop`` is called, once."""

    feed_id: str
    tier: Tier
    surprise: float
    give_up_s: float
    """On the clock that `MomentQueue.expire` is given."""
    start: Callable[[], None]
    drop: Callable[[], None]

    @property
    def rank(self) -> tuple[int, float]:
        return self.tier, self.surprise


class MomentQueue:
    """At most ``capacity`` moments of many feeds that wait for one model.

    Full, it drops the least important moment of a feed that has more than its share of the places (``capacity`` divided
    by the feeds that wait), the new one included: so a feed never loses a place within its share to a noisy neighbour.
    Taken is what is of the highest tier; within it alternately the most unusual moment, and the most unusual one of the
    feed that has gone longest without: neither does a noisy camera take every turn.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"MomentQueue: want a capacity of at least 1, got {capacity}")
        self.capacity = capacity
        self.counters: dict[str, float] = {"asked": 0, "dropped_full": 0, "dropped_old": 0}
        self._waiting: list[Waiting] = []
        self._num_taken = 0
        self._served: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < self.capacity

    def put(self, moment: Waiting) -> None:
        """Let it wait, or drop what is least worth its place."""
        self._waiting.append(moment)
        if len(self._waiting) <= self.capacity:
            return
        places = Counter(waiting.feed_id for waiting in self._waiting)
        share = self.capacity // len(places)
        greedy = [waiting for waiting in self._waiting if places[waiting.feed_id] > share]
        # of equals the one that waits longest is kept: min() finds the first, so look from the newest
        self._drop(min(reversed(greedy), key=lambda waiting: waiting.rank), "dropped_full")

    def expire(self, now_s: float) -> None:
        """Drop what nobody has come to in time."""
        for moment in [waiting for waiting in self._waiting if waiting.give_up_s <= now_s]:
            self._drop(moment, "dropped_old")

    def discard(self, feed_id: str) -> None:
        """The feed has left."""
        for moment in [waiting for waiting in self._waiting if waiting.feed_id == feed_id]:
            self._drop(moment, "dropped_old")
        self._served.pop(feed_id, None)

    def take(self) -> Waiting | None:
        """The moment to ask about now; the caller calls its ``start``."""
        if not self._waiting:
            return None
        tier = max(waiting.tier for waiting in self._waiting)
        best = [waiting for waiting in self._waiting if waiting.tier == tier]
        if self._num_taken % 2:
            longest = min(self._served.get(waiting.feed_id, -1) for waiting in best)
            best = [waiting for waiting in best if self._served.get(waiting.feed_id, -1) == longest]
        moment = max(best, key=lambda waiting: waiting.surprise)
        self._waiting.remove(moment)
        self._served[moment.feed_id] = self._num_taken
        self._num_taken += 1
        self.counters["asked"] += 1
        return moment

    def _drop(self, moment: Waiting, why: str) -> None:
        self._waiting.remove(moment)
        self.counters[why] += 1
        moment.drop()
