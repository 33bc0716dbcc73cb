"""``mmstream eval events``: how much of what happened is found, how soon, and at how many false alerts.

Nothing here is fitted to the events: alerts are those that the pipeline raised within its budget. What another
threshold would have found stands beside it (`at_one_per_hour`, `curve`), from the same scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.evaluation.judging import Judged, Note, Opening, judge_all, silent
from mmstream.evaluation.manifest import Event, Manifest, Untouched, read_manifest
from mmstream.evaluation.matching import (
    Matched,
    Timeline,
    at_false_rate,
    curve,
    first_above_s,
    match,
)
from mmstream.evaluation.metrics import auc, auc_error, poisson_interval, share_interval

FALSE_PER_HOUR = 1.0
"""The rate of false alerts of one camera at which recalls are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one event or sham."""

    event: Event
    delay_s: float | None
    """None: no alert."""
    peak: float
    """Its highest debounced surprise."""
    by_health: bool = False
    """Found because the camera said that something is wrong with itself."""


def evaluate_events(path: Path, *, note: Note = silent) -> dict[str, Any]:
    """Run the manifest at ``path``; keys as DESIGN section 4 fixes them.

    Raises:
        ConfigError: the manifest is not what it should be.
        SourceError: a recording cannot be read.
    """
    manifest = read_manifest(path)
    return report_of(manifest, judge_all(manifest, note=note))


def report_of(manifest: Manifest, feeds: Sequence[Judged]) -> dict[str, Any]:
    """What was judged against what was in it."""
    matches = {feed.feed_id: _matched(feed, _of(feed.feed_id, manifest.events)) for feed in feeds}
    outcomes = [outcome for feed in feeds for outcome in _outcomes(feed, manifest, matches[feed.feed_id])]
    events = [outcome for outcome in outcomes if not outcome.event.sham]
    shams = [outcome for outcome in outcomes if outcome.event.sham]
    num_false = sum(len(matched.false_s) for matched in matches.values())
    return {
        **_headline(events),
        **_rates(manifest, feeds, num_false),
        "by_type": _by(events, lambda outcome: outcome.event.type),
        "by_modality": _by(events, lambda outcome: outcome.event.modality),
        "shams": _by(shams, lambda outcome: outcome.event.modality),
        "num_duplicates": sum(matched.num_duplicates for matched in matches.values()),
        "num_suppressed": sum(feed.num_suppressed for feed in feeds),
        "num_false_health": sum(len(_false_health(feed, manifest)) for feed in feeds),
        **_at_other_thresholds(manifest, feeds, outcomes),
        "sham_auc": _sham_auc(manifest, feeds),
        "feeds": {feed.feed_id: _feed_report(feed, outcomes) for feed in feeds},
    }


def _of(feed_id: str, stretches: Iterable[Event]) -> list[Event]:
    return [stretch for stretch in stretches if stretch.feed == feed_id]


def _matched(feed: Judged, events: Sequence[Event]) -> Matched:
    return match([opening.opened_s for opening in feed.alerts], events)


def _outcomes(feed: Judged, manifest: Manifest, matched: Matched) -> list[Outcome]:
    found = []
    for number, event in enumerate(_of(feed.feed_id, manifest.events)):
        delay_s, by_health = matched.delays_s.get(number), False
        if event.modality == "camera":
            near = match([opening.opened_s for opening in feed.health], [event]).delays_s.get(0)
            if near is not None and (delay_s is None or near < delay_s):
                delay_s, by_health = near, True
        found.append(Outcome(event=event, delay_s=delay_s, peak=feed.timeline.peak(event), by_health=by_health))
    return found


def _false_health(feed: Judged, manifest: Manifest) -> list[Opening]:
    tampered = [event for event in _of(feed.feed_id, manifest.events) if event.modality == "camera"]
    wrong = set(match([opening.opened_s for opening in feed.health], tampered).false_s)
    return [opening for opening in feed.health if opening.opened_s in wrong]


def _headline(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    delays_s = [outcome.delay_s for outcome in outcomes if outcome.delay_s is not None]
    return {
        "num_events": len(outcomes),
        "event_recall": len(delays_s) / len(outcomes) if outcomes else None,
        "event_recall_95": list(share_interval(len(delays_s), len(outcomes))),
        "delay_s": _delays(delays_s),
    }


def _delays(delays_s: Sequence[float]) -> dict[str, float | None]:
    if not delays_s:
        return {"p50": None, "p90": None}
    return {"p50": float(np.quantile(delays_s, 0.5)), "p90": float(np.quantile(delays_s, 0.9))}


def _rates(manifest: Manifest, feeds: Sequence[Judged], num_false: int) -> dict[str, Any]:
    """False alerts against the hours in which nothing was put in, and against the budget for them."""
    hours, budget = 0.0, 0.0
    for feed in feeds:
        free = feed.timeline.away_from(_of(feed.feed_id, manifest.events)).hours * _share_able(feed)
        hours += free
        budget += free * feed.alerts_per_day / 24.0
    low, high = poisson_interval(num_false)
    return {
        "camera_hours": sum(feed.timeline.hours for feed in feeds),
        "num_false": num_false,
        "false_alerts_per_camera_hour": num_false / hours if hours else None,
        "nominal_per_camera_hour": budget / hours if hours else None,
        "realised_over_nominal": num_false / budget if budget else None,
        "realised_over_nominal_95": [low / budget, high / budget] if budget else None,
    }


def _share_able(feed: Judged) -> float:
    """Of the windows judged: no alert can open while a feed is warming up."""
    return 1.0 - feed.phases["warmup"] / max(1, sum(feed.phases.values()))


def _by(outcomes: Sequence[Outcome], key: Callable[[Outcome], str]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in sorted({key(outcome) for outcome in outcomes}):
        inside = [outcome for outcome in outcomes if key(outcome) == name]
        row = _headline(inside)
        rows[name] = {"num": row["num_events"], "recall": row["event_recall"], "delay_s": row["delay_s"]}
    return rows


def _at_other_thresholds(manifest: Manifest, feeds: Sequence[Judged], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The curve over thresholds, and what happens at the one with a false alert per camera-hour."""
    events = {feed.feed_id: [e for e in _of(feed.feed_id, manifest.events) if not e.sham] for feed in feeds}
    shams = {feed.feed_id: [e for e in _of(feed.feed_id, manifest.events) if e.sham] for feed in feeds}
    lines = {feed.feed_id: feed.timeline for feed in feeds}
    points = curve(lines, events, shams)
    alone = {name: _channel_lines(feeds, name) for name in sorted({name for feed in feeds for name in feed.channels})}
    recall_alone = {name: at_false_rate(curve(found, events, shams), FALSE_PER_HOUR) for name, found in alone.items()}
    chosen = at_false_rate(points, FALSE_PER_HOUR)
    return {
        "at_one_per_hour": _at_threshold(lines, outcomes, chosen.threshold) if chosen is not None else None,
        "recall_of_channels_alone": {
            name: _number(point.event_recall) for name, point in recall_alone.items() if point is not None
        },
        "curve": [
            {
                "threshold": round(point.threshold, 4),
                "event_recall": _number(point.event_recall),
                "false_per_hour": _number(point.false_per_hour),
                "sham_rate": _number(point.sham_rate),
            }
            for point in points
        ],
    }


def _channel_lines(feeds: Sequence[Judged], name: str) -> dict[str, Timeline]:
    return {feed.feed_id: feed.channels[name] for feed in feeds if name in feed.channels}


def _at_threshold(lines: Mapping[str, Timeline], outcomes: Sequence[Outcome], threshold: float) -> dict[str, Any]:
    moved = [
        Outcome(
            event=outcome.event,
            delay_s=first_above_s(lines[outcome.event.feed], outcome.event, threshold),
            peak=outcome.peak,
        )
        for outcome in outcomes
    ]
    events = [outcome for outcome in moved if not outcome.event.sham]
    shams = [outcome for outcome in moved if outcome.event.sham]
    by_magnitude = {
        name: _by(
            [o for o in events if o.event.type == name and o.event.magnitude is not None],
            lambda outcome: f"{outcome.event.magnitude:g}",
        )
        for name in sorted({outcome.event.type for outcome in events})
    }
    return {
        "threshold": threshold,
        **_headline(events),
        "by_type": _by(events, lambda outcome: outcome.event.type),
        "by_modality": _by(events, lambda outcome: outcome.event.modality),
        "by_magnitude": {name: rows for name, rows in by_magnitude.items() if rows},
        "shams": _by(shams, lambda outcome: outcome.event.modality),
        "sham_rate": _headline(shams)["event_recall"],
    }


def _sham_auc(manifest: Manifest, feeds: Sequence[Judged]) -> dict[str, Any]:
    """Modality -> chance that a sham scores above an untouched stretch of the same kind: 0.5 when the injector
    leaves no trace, and above 0.55 it does."""
    lines = {feed.feed_id: feed.timeline for feed in feeds}
    found: dict[str, Any] = {}
    for modality in sorted({untouched.modality for untouched in manifest.untouched}):
        shams = [event for event in manifest.events if event.sham and event.modality == modality]
        others: list[Untouched] = [item for item in manifest.untouched if item.modality == modality]
        peaks = np.array([lines[item.feed].peak(item) for item in (*shams, *others)])
        is_sham = np.arange(len(peaks)) < len(shams)
        value = auc(peaks, is_sham)
        error = auc_error(value, len(others), len(shams))
        found[modality] = {"auc": _number(value), "error": _number(error), "num": [len(shams), len(others)]}
    return found


def _feed_report(feed: Judged, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    mine = [outcome for outcome in outcomes if outcome.event.feed == feed.feed_id]
    return {
        "learned_s": feed.learned_s,
        "alerts_per_day": feed.alerts_per_day,
        "phases": feed.phases,
        "times_s": [round(float(value), 2) for value in feed.timeline.end_s],
        "scores": [round(float(value), 3) for value in feed.timeline.value],
        "alerts": [_told(opening, [outcome.event for outcome in mine]) for opening in feed.alerts],
        "health": [{"opened_s": round(o.opened_s, 2), "cause": o.alert.cause} for o in feed.health],
        "events": [
            outcome.event.model_dump(exclude={"feed"})
            | {"delay_s": outcome.delay_s, "peak": _number(outcome.peak), "by_health": outcome.by_health}
            for outcome in mine
        ],
    }


def _told(opening: Opening, events: Sequence[Event]) -> dict[str, Any]:
    near = [event for event in events if match([opening.opened_s], [event]).delays_s]
    kind = "nothing" if not near else "sham" if all(event.sham for event in near) else "event"
    return {
        "opened_s": round(opening.opened_s, 2),
        "of": kind,
        "surprise": opening.alert.surprise,
        "shares": dict(opening.alert.shares),
        "sentence": opening.alert.sentence,
    }


def _number(value: float) -> float | None:
    """JSON has no nan and no infinity."""
    return round(float(value), 4) if np.isfinite(value) else None
