"""Which alerts are of which events, and what any other threshold would have found.

An event is found when an alert opens in ``[start - 2 s, end + 5 s]``. One alert is of one event; further ones in
the same event are duplicates; an alert of no event is false; shams are counted apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mmstream.evaluation.metrics import Flags
from mmstream.types import Float64

BEFORE_S = 2.0
AFTER_S = 5.0
NUM_THRESHOLDS = 200
HOUR_S = 3600.0


class Stretch(Protocol):
    """Anything with a beginning and an end, in seconds."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """The judged windows of one feed, in order."""

    end_s: Float64
    """(n,)."""
    value: Float64
    """(n,) what the threshold is compared with: the debounced surprise."""
    refractory_s: float
    """The least time between two alerts."""
    step_s: float = 1.0
    """Each window stands for so much time."""

    @property
    def hours(self) -> float:
        return self.step_s * len(self.end_s) / HOUR_S

    def near(self, stretch: Stretch) -> Flags:
        """(n,) windows that may open an alert of it."""
        near: Flags = (self.end_s >= stretch.start_s - BEFORE_S) & (self.end_s <= stretch.end_s + AFTER_S)
        return near

    def peak(self, stretch: Stretch) -> float:
        """Its highest value; -inf without any window."""
        return float(self.value[self.near(stretch)].max(initial=-np.inf))

    def away_from(self, stretches: Sequence[Stretch]) -> Timeline:
        """Without the windows near any of them."""
        kept = np.ones(len(self.end_s), np.bool_)
        for stretch in stretches:
            kept &= ~self.near(stretch)
        return dataclasses.replace(self, end_s=self.end_s[kept], value=self.value[kept])

    def openings(self, threshold: float) -> list[float]:
        """When alerts above the threshold would open."""
        opened_s: list[float] = []
        for at_s in self.end_s[self.value > threshold].tolist():
            if not opened_s or at_s >= opened_s[-1] + self.refractory_s:
                opened_s.append(at_s)
        return opened_s


@dataclass(slots=True, kw_only=True)
class Matched:
    """What became of the alerts of one feed."""

    delays_s: dict[int, float] = field(default_factory=dict)
    """Number of the event -> from its start to the alert; negative when earlier."""
    num_duplicates: int = 0
    false_s: list[float] = field(default_factory=list)


def match(opened_s: Sequence[float], stretches: Sequence[Stretch]) -> Matched:
    """Alerts in order of time, each to the first stretch near it that has none yet.

    >>> from mmstream.evaluation.manifest import Untouched
    >>> dog = Untouched(feed="a", start_s=10.0, end_s=12.0, modality="sound")
    >>> match([11.0, 14.0, 40.0], [dog])
    Matched(delays_s={0: 1.0}, num_duplicates=1, false_s=[40.0])
    """
    matched = Matched()
    for at_s in sorted(opened_s):
        near = [
            number
            for number, stretch in enumerate(stretches)
            if stretch.start_s - BEFORE_S <= at_s <= stretch.end_s + AFTER_S
        ]
        fresh = next((number for number in near if number not in matched.delays_s), None)
        if fresh is not None:
            matched.delays_s[fresh] = at_s - stretches[fresh].start_s
        elif near:
            matched.num_duplicates += 1
        else:
            matched.false_s.append(at_s)
    return matched


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one threshold, the same for every feed, would have done."""

    threshold: float
    event_recall: float
    false_per_hour: float
    """Per hour of one camera."""
    sham_rate: float
    """Share of the shams that would have raised an alert."""


def curve(
    timelines: Mapping[str, Timeline], events: Mapping[str, Sequence[Stretch]], shams: Mapping[str, Sequence[Stretch]]
) -> list[Point]:
    """From no alert to the one everywhere; rates without any event or sham are nan.

    What goes on in the quiet time after an alert of an event is not false: no other alert would open there.
    """
    put_in = {name: [*events.get(name, ()), *shams.get(name, ())] for name in timelines}
    hours = sum(line.away_from(put_in[name]).hours for name, line in timelines.items())
    event_peaks, sham_peaks = _peaks(timelines, events), _peaks(timelines, shams)
    values = np.concatenate([line.value for line in timelines.values()] or [np.zeros(0)])
    return [
        Point(
            threshold=threshold,
            event_recall=share_above(event_peaks, threshold),
            false_per_hour=_num_false(timelines, put_in, threshold) / hours if hours else np.nan,
            sham_rate=share_above(sham_peaks, threshold),
        )
        for threshold in _thresholds(values)
    ]


def at_false_rate(points: Sequence[Point], per_hour: float) -> Point | None:
    """The most sensitive threshold with at most so many false alerts per camera-hour."""
    return next((point for point in reversed(points) if point.false_per_hour <= per_hour), None)


def share_above(peaks: Float64, threshold: float) -> float:
    return float((peaks > threshold).mean()) if len(peaks) else float("nan")


def first_above_s(line: Timeline, stretch: Stretch, threshold: float) -> float | None:
    """Seconds from the start of the stretch to the first window above the threshold near it."""
    found = line.end_s[line.near(stretch) & (line.value > threshold)]
    return float(found[0] - stretch.start_s) if len(found) else None


def _num_false(timelines: Mapping[str, Timeline], put_in: Mapping[str, Sequence[Stretch]], threshold: float) -> int:
    return sum(len(match(line.openings(threshold), put_in[name]).false_s) for name, line in timelines.items())


def _peaks(timelines: Mapping[str, Timeline], stretches: Mapping[str, Sequence[Stretch]]) -> Float64:
    return np.array([line.peak(stretch) for name, line in timelines.items() for stretch in stretches.get(name, ())])


def _thresholds(values: Float64) -> list[float]:
    """From the highest value down; close together where alerts are rare."""
    if not len(values):
        return []
    found = np.unique(values)[::-1]
    if len(found) > NUM_THRESHOLDS:
        places = np.geomspace(1, len(found), NUM_THRESHOLDS).astype(int) - 1
        found = found[np.unique(places)]
    return [float(value) for value in found]
