"""Why a window is unusual, to be shown: where in picture and sound, beside the most similar normal moments.

The meeting place of what was measured (embeddings), what is remembered (normality), what can point
into a picture (encoders) and what was photographed (`mmstream.moments`). Asked only for the few
windows that raise or worsen an alert, so it may cost some milliseconds.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from mmstream.encoders import EDGE_ENCODERS
from mmstream.errors import MmstreamError
from mmstream.moments import key, nearest_ms
from mmstream.stages import Locating, Neighbour, load
from mmstream.types import AlignedWindow, Evidence, Explanation, Float32, NormalMoment, Where

log = logging.getLogger(__name__)

NUM_NORMAL = 3
CANDIDATES = 32
"""Neighbours looked at per channel: the nearest may lie close together, or have no picture."""

STRONG_SHARE = 0.5
"""Channels with so much of the strangest one's -log10 p are part of the reason."""

HINT_P = 0.1
"""Where none of those can point, a channel this unusual may."""

PREFERENCES: tuple[tuple[bool, float], ...] = ((True, 60.0), (True, 15.0), (False, 60.0), (False, 15.0))
"""(must have a picture, seconds from every other moment shown and from now), first choice first."""

Locate = Callable[[Float32, Float32 | None], Where | None]


class Recalling(Protocol):
    """What is remembered of one feed: `normality.memory.Memory`."""

    def neighbours(self, channel: str, vector: Float32, count: int) -> Sequence[Neighbour]: ...


class Explainer:
    """Explains windows of any feed. ``kept_ms``: feed id -> times of the pictures kept of it, in order.

    An explanation that fails is empty and counted (``num_failed``): it must never cost the alert.
    """

    def __init__(self, *, encoders: Iterable[str] = (), kept_ms: Callable[[str], Sequence[int]] = lambda _: ()) -> None:
        self._encoders = tuple(encoders)
        self._kept_ms = kept_ms
        self.num_failed = 0

    def __call__(self, window: AlignedWindow, evidence: Sequence[Evidence], memory: Recalling) -> Explanation:
        try:
            return self._explained(window, evidence, memory)
        except (MmstreamError, LookupError, ValueError, TypeError, ArithmeticError):
            self.num_failed += 1
            log.exception("feed %s: an unusual window could not be explained", window.feed_id)
            return Explanation()

    @functools.cached_property
    def _locators(self) -> Mapping[str, Locate]:
        """Channel -> how its encoder points. Encoders are imported at the first alert, not at the start."""
        classes: list[Any] = [load(EDGE_ENCODERS, name) for name in self._encoders]
        return {encoder.channel.name: encoder.locate for encoder in classes if issubclass(encoder, Locating)}

    def _explained(self, window: AlignedWindow, evidence: Sequence[Evidence], memory: Recalling) -> Explanation:
        vectors = {embedding.channel: embedding.vector for embedding in window.embeddings}
        ranked = sorted((item for item in evidence if item.channel in vectors), key=_strength, reverse=True)
        if not ranked:
            return Explanation()
        near = {item.channel: memory.neighbours(item.channel, vectors[item.channel], CANDIDATES) for item in ranked}
        strong = [item.channel for item in ranked if _strength(item) >= STRONG_SHARE * _strength(ranked[0])]
        where: dict[str, Where] = {}
        for item in ranked:
            locate = self._locators.get(item.channel)
            if locate is not None and (item.channel in strong or (not where and item.p <= HINT_P)):
                remembered = near[item.channel]
                found = locate(vectors[item.channel], remembered[0].vector if remembered else None)
                where |= {item.channel: found} if found is not None else {}
        others = [item.channel for item in ranked if item.channel not in strong]
        candidates = [*_in_turn(strong, near), *_in_turn(others, near)]
        return Explanation(where=where, normal=self._normal(window, candidates))

    def _normal(self, window: AlignedWindow, candidates: Sequence[NormalMoment]) -> tuple[NormalMoment, ...]:
        """The first three that are apart in time, those with a picture before those without."""
        kept_ms = self._kept_ms(window.feed_id)
        pictured = [_with_picture(window.feed_id, moment, kept_ms) for moment in candidates]
        chosen: list[int] = []
        for must_show, apart_s in PREFERENCES:
            for number, moment in enumerate(pictured):
                shown_s = [window.end_s, *(pictured[other].at_s for other in chosen)]
                apart = all(abs(moment.at_s - at_s) >= apart_s for at_s in shown_s)
                if len(chosen) < NUM_NORMAL and apart and (moment.picture or not must_show):
                    chosen.append(number)
        return tuple(pictured[number] for number in sorted(chosen))


UNPICTURED = Explainer()
"""Tells normal moments by their times alone."""


def _strength(item: Evidence) -> float:
    return -item.weight * math.log10(item.p)


def _in_turn(channels: Sequence[str], near: Mapping[str, Sequence[Neighbour]]) -> list[NormalMoment]:
    """The nearest of every channel, then the second nearest ...: distances in two channels cannot be compared."""
    return [
        NormalMoment(at_s=near[channel][rank].at_s, channel=channel)
        for rank in range(CANDIDATES)
        for channel in channels
        if rank < len(near[channel])
    ]


def _with_picture(feed_id: str, moment: NormalMoment, kept_ms: Sequence[int]) -> NormalMoment:
    at_ms = nearest_ms(kept_ms, moment.at_s)
    if at_ms is None:
        return moment
    return NormalMoment(at_s=moment.at_s, channel=moment.channel, picture=key(feed_id, at_ms))
