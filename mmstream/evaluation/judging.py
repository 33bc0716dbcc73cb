"""Recorded feeds through the whole pipeline, as fast as it can: every judged window and every alert kept."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.alerts.debounce import Debounce
from mmstream.analysis import Judgement
from mmstream.config import FeedConfig, GateSection, SiteConfig, SiteSection, TrainingSection
from mmstream.errors import Damaged, StageError
from mmstream.evaluation.manifest import JudgedFeed, Manifest
from mmstream.evaluation.matching import Timeline
from mmstream.pipeline import LocalSite
from mmstream.sources.length import length_s
from mmstream.sources.media import MediaSource
from mmstream.storage.base import AlertQuery, Store
from mmstream.storage.open import open_media, open_store
from mmstream.types import Alert, Packet, Status

Note = Callable[[str, float], None]
"""Told of a feed and the share of it that is done."""


def silent(feed_id: str, share: float) -> None:
    """A `Note` for who does not want to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An alert, and when it was raised: the end of the window that crossed the threshold."""

    opened_s: float
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What the pipeline made of one feed. Times count from the start of the judged recording."""

    feed_id: str
    timeline: Timeline
    channels: dict[str, Timeline]
    """Channel -> -log10 of its p-value, debounced: what it would have done alone."""
    alerts: tuple[Opening, ...]
    health: tuple[Opening, ...]
    num_suppressed: int
    alerts_per_day: float
    phases: dict[str, int]
    """Phase of the calibration -> windows judged in it."""
    learned_s: float


def judge_all(manifest: Manifest, *, note: Note = silent) -> list[Judged]:
    """Every feed of the manifest, as many at once as there are cores.

    Raises:
        SourceError: a recording cannot be read.
        StageError: windows could not be judged.
    """
    return asyncio.run(_judge_all(manifest, note))


async def _judge_all(manifest: Manifest, note: Note) -> list[Judged]:
    turns = asyncio.Semaphore(os.cpu_count() or 1)

    async def in_turn(feed: JudgedFeed) -> Judged:
        async with turns:
            with tempfile.TemporaryDirectory(prefix="mmstream-eval-") as folder:
                return await _judge(feed, manifest, Path(folder), note)

    return await asyncio.gather(*(in_turn(feed) for feed in manifest.feeds))


async def _judge(feed: JudgedFeed, manifest: Manifest, folder: Path, note: Note) -> Judged:
    config = FeedConfig(
        id=feed.id,
        url=str(feed.judge),
        history=tuple(str(path) for path in feed.learn),
        live=False,
        budget_alerts_per_day=feed.alerts_per_day,
    )
    site = SiteConfig(
        site=SiteSection(data_dir=folder),
        budget=manifest.budget,
        encoders=manifest.encoders,
        gate=GateSection(enabled=False),
        training=TrainingSection(enabled=False),
        feeds=(config,),
    )
    total_s = sum(length_s(config, path) for path in (*config.history, config.url))
    origin_s = _origin_s(config)
    judgements: list[Judgement] = []

    def keep(judgement: Judgement) -> None:
        judgements.append(judgement)
        note(feed.id, min(1.0, len(judgements) / max(total_s, 1.0)))

    store = open_store(site, write=True)
    # History is placed right before now, so now is the moment at which the judged recording begins.
    local = LocalSite(site, store=store, media=open_media(site), now=lambda: origin_s, on_judgement=keep)
    await local.run()
    _check(feed, local.shard.statuses()[feed.id], local.fuse.core.counters)
    summary = local.fuse.core.summaries()[feed.id]
    return _judged(feed, manifest, judgements, _alerts_of(store, feed.id), summary, origin_s)


def _judged(
    feed: JudgedFeed,
    manifest: Manifest,
    judgements: Sequence[Judgement],
    alerts: Sequence[Alert],
    summary: Any,
    origin_s: float,
) -> Judged:
    opened_s: dict[str, float] = {}
    for judgement in judgements:
        for alert in judgement.alerts:
            opened_s.setdefault(alert.alert_id, judgement.end_s - origin_s)
    openings = [
        Opening(opened_s=opened_s.get(alert.alert_id, alert.start_s - origin_s), alert=alert) for alert in alerts
    ]
    pushed = [o for o in openings if o.alert.kind == "unusual" and o.alert.severity != "notice"]
    windows = [j for j in judgements if not j.history and j.end_s > j.start_s]
    names = sorted({evidence.channel for window in windows for evidence in window.score.evidence})
    line = partial(_timeline, windows, origin_s=origin_s, refractory_s=manifest.budget.block_s)
    return Judged(
        feed_id=feed.id,
        timeline=line(lambda judgement: judgement.score.surprise),
        channels={name: line(_of_channel(name)) for name in names},
        alerts=tuple(o for o in pushed if not o.alert.suppressed),
        health=tuple(o for o in openings if o.alert.kind == "health"),
        num_suppressed=int(summary["alerts_suppressed"]),
        alerts_per_day=feed.alerts_per_day or manifest.budget.alerts_per_camera_per_day,
        phases={phase: sum(w.phase == phase for w in windows) for phase in ("warmup", "provisional", "calibrated")},
        learned_s=float(sum(1 for j in judgements if j.history)),
    )


def _timeline(
    windows: Sequence[Judgement], value_of: Callable[[Judgement], float], *, origin_s: float, refractory_s: float
) -> Timeline:
    debounce = Debounce()
    return Timeline(
        end_s=np.array([window.end_s - origin_s for window in windows]),
        value=np.array([debounce.push(value_of(window)) for window in windows]),
        refractory_s=refractory_s,
    )


def _of_channel(name: str) -> Callable[[Judgement], float]:
    def value_of(judgement: Judgement) -> float:
        found = (evidence.p for evidence in judgement.score.evidence if evidence.channel == name)
        return float(-np.log10(next(found, 1.0)))

    return value_of


def _origin_s(config: FeedConfig) -> float:
    """Unix time of second 0 of the recording: the one its own tag tells, else 0."""
    firsts = []
    for epoch_s in (None, 0.0):
        for item in MediaSource(config, epoch_s=epoch_s):
            if isinstance(item, Status) and item.state == "failed":
                raise Damaged(item.sentence.partition(": ")[2])
            if isinstance(item, Packet):
                firsts.append(item.start_s)
                break
    return firsts[0] - firsts[1] if len(firsts) == 2 else 0.0


def _alerts_of(store: Store, feed_id: str) -> list[Alert]:
    alerts: list[Alert] = []
    cursor = None
    while True:
        page = store.alerts(AlertQuery(feed_id=feed_id, limit=200, cursor=cursor))
        alerts += page.alerts
        cursor = page.next_cursor
        if cursor is None:
            return alerts


def _check(feed: JudgedFeed, status: Mapping[str, Any], judging: Mapping[str, float]) -> None:
    """Whatever was left out would be counted as quiet."""
    if status["state"] == "failed":
        raise Damaged(f"{feed.judge}: {status['sentence'].partition(': ')[2]}")
    counters = status["counters"]
    if counters["history_failed"]:
        names = ", ".join(path.name for path in feed.learn)
        raise Damaged(f"feed {feed.id!r}: not all of what it shall learn could be read; check {names} with ffprobe")
    num_failed = sum((counters["crashes"], counters["encoder_errors"], judging["bad_items"]))
    if num_failed:
        raise StageError(f"feed {feed.id!r}: {num_failed:.0f} windows could not be judged; the log above says why")
