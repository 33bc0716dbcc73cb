"""The whole path in one process: the only file that knows every room.

`services` strings the same objects together across actors. If it works here, only placement can
differ there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmstream.analysis import Judgement
from mmstream.config import FeedConfig, SiteConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.encoders.batching import build_replica, encode_snapshots
from mmstream.errors import StageError
from mmstream.fusing import VERDICTS_EVERY_S, FusionCore, verdicts_after
from mmstream.shard import Encode, FuseBatch, FuseReply, Shard
from mmstream.stages import ReplicaEncoder, load
from mmstream.storage.base import Commit, MediaStore, Store
from mmstream.types import Channel, Embedding, Snapshot

REPORT_EVERY_S = 2.0


class LocalFuse:
    """Fusion in the same process; writes what is decided straight into the store."""

    def __init__(self, core: FusionCore, store: Store, budgets: Mapping[str, float | None]) -> None:
        self.core = core
        self._store = store
        self._budgets = budgets
        self._hear_s = 0.0

    async def begin(self, feed_id: str) -> bool:
        return self.core.begin(feed_id, self._budgets.get(feed_id))

    async def push(self, batch: FuseBatch) -> FuseReply:
        reply, commits = self.core.push(batch)
        self._write(commits)
        for done in batch.evidence:
            keys = {"clip": done.clip, "thumbnail": done.thumbnail, "spectrogram": done.spectrogram}
            self._store.update_alert(done.alert_id, {name: key for name, key in keys.items() if key})
        self.core.snapshot_some()
        self._hear_verdicts()
        return reply

    async def release(self, feed_id: str) -> None:
        self.core.release(feed_id)

    def finish(self) -> None:
        self._write(self.core.finish())

    def _hear_verdicts(self) -> None:
        if time.monotonic() >= self._hear_s:
            self._hear_s = time.monotonic() + VERDICTS_EVERY_S
            self.core.hear(verdicts_after(self._store, self.core.heard_until()))

    def _write(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            self._store.commit(commit)


def local_encode(encoder: ReplicaEncoder) -> Encode:
    """Run a replica encoder on a thread of this process."""

    async def encode(snapshots: Sequence[Snapshot]) -> Sequence[Embedding] | None:
        try:
            return await asyncio.to_thread(encode_snapshots, encoder, snapshots)
        except StageError:
            return None

    return encode


def channels_of(site: SiteConfig, replicas: Mapping[str, ReplicaEncoder]) -> dict[str, Channel]:
    """Every channel that the configured encoders can give, by name."""
    channels: dict[str, Channel] = {}
    for name in site.encoders.edge:
        channel: Channel = load(EDGE_ENCODERS, name).channel
        channels[channel.name] = channel
    for encoder in replicas.values():
        channels[encoder.channel.name] = encoder.channel
    return channels


class LocalSite:
    """A site in one process, without Ray and without an API: for evaluation, benchmarks and tests."""

    def __init__(
        self,
        site: SiteConfig,
        *,
        store: Store,
        media: MediaStore,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
        on_judgement: Callable[[Judgement], None] | None = None,
    ) -> None:
        options = site.encoders.options
        device = site.encoders.device
        replicas = {name: build_replica(name, options.get(name, {}), device) for name in site.encoders.replicas}
        core = FusionCore(
            site,
            channels=channels_of(site, replicas),
            media=media,
            tracker_of=store.tracker,
            now=now,
            on_judgement=on_judgement,
        )
        budgets = {feed.id: feed.budget_alerts_per_day for feed in site.feeds}
        self.fuse = LocalFuse(core, store, budgets)
        self._store = store
        self._feeds: tuple[FeedConfig, ...] = site.feeds
        self.shard = Shard(
            site,
            encoders={e.channel.name: (e.wants, local_encode(e)) for e in replicas.values()},
            fuse=self.fuse,
            media=media,
            environment=environment,
            now=now,
        )

    async def run(
        self, *, for_s: float | None = None, on_status: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """Watch until every file has been read, or for ``for_s`` seconds; then close what is open."""
        running = asyncio.create_task(self.shard.run())
        for feed in self._feeds:
            self._store.put_feed(feed.id, feed.model_dump(mode="json"))
            await self.shard.add(feed)
        report_s = 0.0
        until_s = time.monotonic() + for_s if for_s is not None else float("inf")
        while not running.done() and not self.shard.drained and time.monotonic() < until_s:
            if time.monotonic() >= report_s:
                report_s = time.monotonic() + REPORT_EVERY_S
                statuses = self.shard.statuses()
                self._store.put_statuses(statuses)
                if on_status is not None:
                    on_status(statuses)
            await asyncio.sleep(0.25)
        self.shard.stop()
        await running
        self.fuse.finish()
        self.fuse.core.snapshot_some(all_feeds=True)
        summaries = self.fuse.core.summaries()
        statuses = self.shard.statuses()
        self._store.put_statuses({name: {**status, "analysis": summaries[name]} for name, status in statuses.items()})
