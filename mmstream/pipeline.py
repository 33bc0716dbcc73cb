"""The whole path in one process: the only file that knows every room.

`services` strings the same objects together across actors. If it works here, only placement can
differ there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmstream.analysis import Judgement
from mmstream.archive_pictures import with_pictures
from mmstream.archiving import Archivist
from mmstream.config import FeedConfig, SiteConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.encoders.batching import build_replica, encode_snapshots
from mmstream.encoders.fitting import Fitting
from mmstream.errors import StageError, StoreError
from mmstream.fusing import VERDICTS_EVERY_S, FusionCore, changes_of, verdicts_after
from mmstream.rules import book
from mmstream.rules.watch import CHANNEL
from mmstream.shard import Encode, FuseBatch, FuseReply, Shard
from mmstream.stages import KnowsWords, ReplicaEncoder, load
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.base import Commit, MediaStore, Store
from mmstream.types import Channel, Embedding, Float32, Snapshot
from mmstream.understanding.speaking import local_speakers

log = logging.getLogger(__name__)

REPORT_EVERY_S = 2.0
LEAST_MOMENTS = 1000
"""Written to the archive at once; every write makes a file there."""


class LocalFuse:
    """Fusion in the same process; writes what is decided straight into the store."""

    def __init__(
        self,
        core: FusionCore,
        store: Store,
        budgets: Mapping[str, float | None],
        read_words: tuple[str, Callable[[Sequence[str]], Float32]] | None = None,
    ) -> None:
        """``read_words``: (model, texts -> their vectors in the space of its pictures); None: no encoder can."""
        self.core = core
        self._store = store
        self._budgets = budgets
        self._read_words = read_words
        self._rules = ""
        self._hear_s = 0.0

    async def begin(self, feed_id: str) -> bool:
        return self.core.begin(feed_id, self._budgets.get(feed_id))

    async def push(self, batch: FuseBatch) -> FuseReply:
        await self._read_rule_texts()  # before judging: a whole recording may come in one batch
        reply, commits = self.core.push(batch)
        self._write(commits)
        for alert_id, fields in changes_of(batch.evidence, batch.answers):
            self._store.update_alert(alert_id, fields)
        self.core.snapshot_some()
        self._hear_verdicts()
        return reply

    async def release(self, feed_id: str) -> None:
        self.core.release(feed_id)

    def finish(self) -> None:
        self._write(self.core.finish())

    def follow_rules(self) -> None:
        """Take over what the store has, if that has changed."""
        rules = self._store.value(book.RULES) or ""
        if rules != self._rules:
            self._rules = rules
            self._write(self.core.follow_rules(book.read(rules)))

    async def _read_rule_texts(self) -> None:
        if self._read_words is None:
            return
        model, read = self._read_words
        self.core.rule_texts.expect(model)
        _, texts = self.core.rule_texts.missing()
        if texts:
            self.core.rule_texts.put(model, texts, await asyncio.to_thread(read, texts))

    def _hear_verdicts(self) -> None:
        if time.monotonic() >= self._hear_s:
            self._hear_s = time.monotonic() + VERDICTS_EVERY_S
            self.core.hear(verdicts_after(self._store, self.core.heard_until()))
            self.follow_rules()

    def _write(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            self._store.commit(commit)


def local_encode(encoder: ReplicaEncoder) -> Encode:
    """Run a replica encoder on a thread of this process."""

    fitting = Fitting(encoder.encode)

    async def encode(snapshots: Sequence[Snapshot]) -> Sequence[Embedding] | None:
        try:
            return await asyncio.to_thread(encode_snapshots, encoder, snapshots, fitting)
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


def _reader_of_words(replicas: Iterable[ReplicaEncoder]) -> tuple[str, Callable[[Sequence[str]], Float32]] | None:
    """How rules' texts come into the space of the pictures; None: no encoder here knows words."""
    for encoder in replicas:
        if encoder.channel.name == CHANNEL and isinstance(encoder, KnowsWords):
            return encoder.model, encoder.encode_words
    return None


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
        archive: ArchiveWriter | None = None,
    ) -> None:
        """``archive``: where moments are kept; None: nowhere."""
        options = site.encoders.options
        device = site.encoders.device
        replicas = {name: build_replica(name, options.get(name, {}), device) for name in site.encoders.replicas}
        channels = channels_of(site, replicas)
        core = FusionCore(
            site,
            channels=channels,
            media=media,
            tracker_of=store.tracker,
            now=now,
            on_judgement=on_judgement,
            archivist=Archivist(channels, block_s=site.budget.block_s) if archive is not None else None,
        )
        budgets = {feed.id: feed.budget_alerts_per_day for feed in site.feeds}
        self.fuse = LocalFuse(core, store, budgets, _reader_of_words(replicas.values()))
        book.seed(store, site.rules)
        self.fuse.follow_rules()
        self._archive, self._media = archive, media
        self._store = store
        self._feeds: tuple[FeedConfig, ...] = site.feeds
        self.shard = Shard(
            site,
            encoders={e.channel.name: (e.wants, local_encode(e)) for e in replicas.values()},
            fuse=self.fuse,
            media=media,
            speakers=local_speakers(site.understanding, device),
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
            await self._keep_moments(LEAST_MOMENTS)
            await asyncio.sleep(0.25)
        self.shard.stop()
        await running
        self.fuse.finish()
        await self._keep_moments(1)
        self.fuse.core.snapshot_some(all_feeds=True)
        summaries = self.fuse.core.summaries()
        statuses = self.shard.statuses()
        self._store.put_statuses({name: {**status, "analysis": summaries[name]} for name, status in statuses.items()})

    async def _keep_moments(self, least: int) -> None:
        """Write what waits for the archive, if it is so much: every write makes a file."""
        archivist, archive = self.fuse.core.archivist, self._archive
        if archive is None or archivist is None or len(archivist) < least:
            return
        moments = archivist.take(len(archivist))
        try:
            named, jpegs, _ = await asyncio.to_thread(with_pictures, moments, self._media)
            await asyncio.to_thread(archive.write, named, jpegs)
        except StoreError as error:
            archivist.give_back(moments)
            log.warning("%d moments wait: %s", len(archivist), error)
