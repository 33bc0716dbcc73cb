"""All that a feed has shown on one channel under one model: what is normal, and how often it was how unusual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from mmstream.normality import NORMALITY
from mmstream.normality.gaussian import MIN_ROWS
from mmstream.normality.hours import HourRanked, HourScaled, Ranks
from mmstream.normality.lessons import under
from mmstream.normality.negative import Negative
from mmstream.normality.translation import Translation
from mmstream.stages import Neighbour, Normality, Remembering, load
from mmstream.types import Channel, Float32, Mode

MIN_SCORES = 30
"""Fewer scores than this are no evidence."""

RARE = 0.01
"""Only where a channel itself was so rare does a confirmed event say something about it."""

INFRARED_BYTES = 128 * 1024
"""Of a bank of infrared pictures, a third of that of a day, for the sake of a feed's 4 MiB: a lamp on the camera
shows less than the sun. (Coresets of a hundredth lose little: Roth et al., "Towards total recall", 2022.)"""

ABSORBED_WEIGHT = 5
"""A window that an operator called a false alarm counts like so many."""

ONE_THING = ("bank", "joint")
"""Kinds whose vector is one thing: near to it means like it."""

_STILL_GROWING = 4096


class Kept(Normality, Protocol):
    """What a `NORMALITY` must offer beside `score`, `learn` and ``len``.

    Made with ``(dim=..., density=...)``. ``num_rescaled`` grows whenever the scale of its scores changes. From 0
    to 1: it has started, and its `self_scores` stand for the history of scores. Later: if it is
    `Translating`, earlier scores are translated; while it is young, the older half of them is forgotten.
    """

    num_rescaled: int

    @property
    def num_rows(self) -> int:
        """Vectors remembered, for the feed's status."""
        ...

    def self_scores(self) -> Float32:
        """(n,) what remembered vectors would have scored against the others; empty if there are none."""
        ...

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, as arrays; not bound to what is learned later."""
        ...

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on exactly as the one whose state this is. Raises KeyError, ValueError: it is of another kind."""
        ...


@runtime_checkable
class Translating(Protocol):
    """Optional: says how scores from before its last rescaling read on the scale after it."""

    @property
    def translation(self) -> Translation: ...


@runtime_checkable
class Absorbing(Protocol):
    """Optional: can be told that a vector is normal although it came once. Others learn it several times."""

    def absorb(self, vector: Float32, at_s: float) -> None: ...

    def forget(self, vector: Float32) -> None:
        """Take an `absorb` back."""
        ...


class History:
    """A channel's `Normality` with the ranks of its scores, by hour of the day, and its confirmed events.

    Scored first, learned after: what enters the ranks was measured out of sample.
    """

    def __init__(self, channel: Channel, dim: int, mode: Mode = "") -> None:
        self.channel = channel
        options: dict[str, Any] = {"least": channel.least} if channel.least else {}
        if mode == "infrared" and channel.normality == "bank":
            options["max_bytes"] = INFRARED_BYTES
        if channel.whiten and channel.normality == "bank":
            options["whiten"] = True
        self._normality: Kept = load(NORMALITY, channel.normality)(dim=dim, density=channel.density, **options)
        self._ranks: Ranks = HourRanked() if channel.by_hour else HourScaled()
        self._negative = Negative(dim=dim)

    def __len__(self) -> int:
        """How many windows have been learned."""
        return len(self._normality)

    @property
    def num_rows(self) -> int:
        return self._normality.num_rows

    def weigh(self, vector: Float32, at_s: float) -> tuple[float, float | None]:
        """-> (raw score, p), p None while there is too little to compare with."""
        raw = self._normality.score(vector)
        return raw, self._ranks.p(raw, at_s) if len(self._ranks) >= MIN_SCORES else None

    def is_confirmed(self, vector: Float32) -> bool:
        """Whether it is like an event that an operator has confirmed."""
        return self._negative.covers(vector)

    def nearest(self, vector: Float32, count: int) -> list[Neighbour]:
        """Nothing from a kind that remembers no vectors."""
        return list(self._normality.nearest(vector, count)) if isinstance(self._normality, Remembering) else []

    def learn(self, vector: Float32, raw: float, at_s: float) -> None:
        """Take in a vector whose score was ``raw`` when it came."""
        if self.channel.normality == "value" or len(self._normality) >= MIN_ROWS:
            self._ranks.add(raw, at_s)
        self._teach(vector, at_s)

    def teach(self, vectors: Iterable[Float32]) -> None:
        """Learn what was ordinary before the feed began; what it scored meanwhile stands for a history of scores."""
        for vector in vectors:
            self._normality.learn(vector, 0.0)
        self._ranks.replace(self._normality.self_scores(), 0.0)

    def absorb(self, vector: Float32, at_s: float) -> None:
        """A false alarm: what is like this is normal from now on."""
        if isinstance(self._normality, Absorbing):
            self._normality.absorb(vector, at_s)
            return
        raw = self._normality.score(vector)
        for _ in range(ABSORBED_WEIGHT):
            self._ranks.insert(raw, at_s)
            self._teach(vector, at_s)

    def forget(self, vector: Float32) -> None:
        """It was no false alarm after all; nothing happens where that cannot be taken back."""
        if isinstance(self._normality, Absorbing):
            self._normality.forget(vector)

    def confirm(self, case: str, vector: Float32, at_s: float) -> None:
        """A true alarm: never learn what is like this."""
        _, p = self.weigh(vector, at_s)
        usual = self.nearest(vector, 1) if self.channel.normality in ONE_THING else []
        if usual and p is not None and p <= RARE:
            self._negative.add(case, vector, usual=usual[0].vector)

    def unconfirm(self, case: str) -> None:
        self._negative.remove(case)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        parts = {"normality": self._normality.state(), "ranks": self._ranks.state()}
        if len(self._negative):
            parts["negative"] = self._negative.state()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of this channel."""
        self._normality.load(under(state, "normality."))
        self._ranks.load(under(state, "ranks."))
        negative = under(state, "negative.")
        if negative:
            self._negative.load(negative)

    def _teach(self, vector: Float32, at_s: float) -> None:
        before = self._normality.num_rescaled
        self._normality.learn(vector, at_s)
        if self._normality.num_rescaled == before:
            return
        if before == 0:
            self._ranks.replace(self._normality.self_scores(), at_s)
            return
        if isinstance(self._normality, Translating):
            change = self._normality.translation
            self._ranks.translate(change.offset, change.factor)
        if len(self._normality) <= _STILL_GROWING:
            self._ranks.keep_newest(len(self._normality) // 2)
