"""From judgements to strips: what must be kept of every window so that alerting can be gone through again.

A plain object per shard. Of the windows of one calibration block all of suspicions and alerts are kept, and of the
others only the highest: of each stretch of some seconds, if it was unusual at all, and of each aspect, so that
another rule or other weights find theirs. The windows in between were below them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from mmstream.alerts.blocks import Blocks
from mmstream.alerts.debounce import Debounce
from mmstream.alerts.levels import LEAST
from mmstream.alerts.machine import quiet_s_of
from mmstream.analysis import Judgement
from mmstream.types import Modality, Strip

MAX_WINDOWS = 4000
"""Of suspicions and alerts in one block: further ones count only as far as they are the highest. An hour has 3600."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Row:
    """One window; aspects are debounced."""

    start_s: float
    end_s: float
    surprise: float
    value: float
    aspects: dict[str, float]


@dataclass(slots=True, kw_only=True, eq=False)
class _Open:
    """The block under way of one feed."""

    number: int | None = None
    covered_s: float = 0.0
    last_end_s: float = -math.inf
    debounce: Debounce = field(default_factory=Debounce)
    by_aspect: dict[str, Debounce] = field(default_factory=dict)
    about: dict[str, tuple[Modality, float]] = field(default_factory=dict)
    """Aspect -> its modality and weight."""
    highest: dict[Hashable, tuple[float, _Row]] = field(default_factory=dict)
    """Respect -> how high the highest window is in it, and that window."""
    suspects: list[_Row] = field(default_factory=list)


class Stripper:
    """Windows of one shard's feeds in, a `Strip` out for every block that has ended."""

    def __init__(self, *, block_s: float) -> None:
        self._block_s = block_s
        self._num_cells = Blocks(block_s=block_s, quiet_s=quiet_s_of(block_s)).num_cells
        self._open: dict[str, _Open] = {}

    def push(self, judgement: Judgement) -> Strip | None:
        """-> the strip of the block before the one that this window ends in, when it is the first there."""
        found = self._open.setdefault(judgement.feed_id, _Open())
        place = judgement.end_s / self._block_s
        number = math.floor(place)
        ended = self._ended(judgement.feed_id, found) if found.number != number else None
        found.number = number
        self._take(found, judgement, cell=int((place - number) * self._num_cells))
        return ended

    def finish(self, feed_id: str) -> Strip | None:
        """The feed has ended or left: the block under way."""
        found = self._open.pop(feed_id, None)
        return self._ended(feed_id, found) if found is not None else None

    def _take(self, found: _Open, judgement: Judgement, *, cell: int) -> None:
        score = judgement.score
        self._cover(found, judgement)
        aspects = {}
        for item in judgement.aspects:
            found.about[item.channel] = (item.modality, item.weight)
            debounce = found.by_aspect.setdefault(item.channel, Debounce())
            aspects[item.channel] = debounce.push(-math.log10(item.p))
        row = _Row(
            start_s=judgement.start_s,
            end_s=judgement.end_s,
            surprise=score.surprise,
            value=found.debounce.push(score.surprise),
            aspects=aspects,
        )
        if not score.shares:
            return
        respects: list[tuple[Hashable, float]] = [("all", row.value)]
        respects += [((cell,), row.value)] if row.value >= LEAST else []
        respects += [(("aspect", name), height) for name, height in aspects.items()]
        for respect, height in respects:
            if respect not in found.highest or height > found.highest[respect][0]:
                found.highest[respect] = (height, row)
        if judgement.suspect and len(found.suspects) < MAX_WINDOWS:
            found.suspects.append(row)

    def _cover(self, found: _Open, judgement: Judgement) -> None:
        """As the tracker and its calibrator count it: where there are only readings or words, they speak for the time
        since the ones before."""
        evidence, start_s, end_s = judgement.score.evidence, judgement.start_s, judgement.end_s
        if evidence and all(item.modality in ("sensor", "words") for item in evidence):
            start_s = end_s - self._block_s
        if judgement.score.shares:
            found.covered_s += max(0.0, min(end_s - found.last_end_s, end_s - start_s))
        found.last_end_s = end_s

    def _ended(self, feed_id: str, found: _Open) -> Strip | None:
        number, rows = found.number, {row.end_s: row for row in found.suspects}
        rows |= {row.end_s: row for _, row in found.highest.values()}
        covered_s, found.covered_s = found.covered_s, 0.0
        found.highest, found.suspects = {}, []
        if number is None or not rows:
            return None
        ordered = [rows[end_s] for end_s in sorted(rows)]
        there = {name for row in ordered for name in row.aspects}
        names = [name for name in found.about if name in there]
        windows = np.array(
            [
                [row.start_s, row.end_s, row.surprise, row.value, *(row.aspects.get(name, math.nan) for name in names)]
                for row in ordered
            ]
        )
        return Strip(
            feed_id=feed_id,
            start_s=number * self._block_s,
            end_s=(number + 1) * self._block_s,
            covered_s=covered_s,
            aspects=tuple((name, *found.about[name]) for name in names),
            windows=windows,
        )
