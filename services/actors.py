"""The long-lived actors: thin shells that place library objects and carry their calls.

An actor method is a line or two; whatever decides something is in `mmstream`. All are named, in the
namespace `NAMESPACE`, and come back by themselves after a crash (``max_restarts=-1``): their
constructors need nothing but what the store and the media store hold.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmstream.adopting import FeedAdoption
from mmstream.archiving import Archivist
from mmstream.config import FeedConfig, RuleConfig, SiteConfig
from mmstream.fusing import VERDICTS_EVERY_S, FusionCore, Verdicts, changes_of, verdicts_after
from mmstream.rules import book
from mmstream.settle import settle
from mmstream.shard import EvidenceDone, FuseBatch, FuseReply, Shard
from mmstream.storage.base import Commit, FeedRecord
from mmstream.storage.open import open_media, open_store
from mmstream.storage.retention import prune
from mmstream.training.footage_files import prune_footage
from mmstream.types import Alert, Channel, InputSpec, Reading, TextSpan
from mmstream.understanding.ondemand import PictureAnswer
from mmstream.understanding.speaking import roles_of
from services.encoders import EncoderClient
from services.handing import ARCHIVE, Handing
from services.rules import RULES_EVERY_S, RuleFollower
from services.speakers import SpeakerClient

log = logging.getLogger(__name__)

NAMESPACE = "mmstream"
LEDGER = "ledger"
STATUS_EVERY_S = 2.0
CALL_TIMEOUT_S = 30.0


def launch(cls: type, name: str, *args: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Start ``cls`` as a detached named actor, or find the one that runs already."""
    settings: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "num_cpus": 0.01,
    }
    return ray.remote(cls).options(**(settings | dict(options or {}))).remote(*args)


def find(name: str) -> Any:
    """The handle of a named actor.

    Raises:
        ConnectionError: it does not run (yet, or any more).
    """
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError as error:
        raise ConnectionError(f"the actor {name} is not running") from error


def beside_us() -> dict[str, Any]:
    """Options of `launch`: on this node if it lends any CPU, else on another one.

    `launch` asks for a hundredth of a CPU: an actor that asks for none is put anywhere, whatever the strategy says.
    """
    node = ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}


def first_on(node: str) -> dict[str, Any]:
    """Options of `launch`: start on that node; after its loss, spread over the others.

    Spreading alone would not do at the start: Ray deals nodes out in turn, so with a fusion and a decoder per shard
    and two nodes every decoder lands on the same one. Affinity to a node alone packs its actors together after a loss.
    """
    return {
        "label_selector": {"ray.io/node-id": node},
        "fallback_strategy": [{"label_selector": {}}],
        "scheduling_strategy": "SPREAD",
    }


class Ledger:
    """The one writer of the store. Every method may be called again with the same arguments."""

    def __init__(self, site_json: str) -> None:
        self._site = SiteConfig.model_validate_json(site_json)
        self._store = open_store(self._site, write=True)

    def ready(self) -> int:
        return os.getpid()

    def commit(
        self,
        commits: Sequence[Commit],
        evidence: Sequence[EvidenceDone] = (),
        answers: Sequence[PictureAnswer] = (),
    ) -> None:
        for commit in commits:
            self._store.commit(commit)
        for alert_id, changes in changes_of(evidence, answers):
            self._store.update_alert(alert_id, changes)

    def put_statuses(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        self._store.put_statuses(statuses)

    def put_feed(self, feed_id: str, settings: Mapping[str, Any], paused: bool) -> FeedRecord:
        return self._store.put_feed(feed_id, settings, paused=paused)

    def remove_feed(self, feed_id: str) -> bool:
        return self._store.remove_feed(feed_id)

    def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None:
        return self._store.update_alert(alert_id, changes)

    def put_rule(self, rule: RuleConfig) -> None:
        book.put(self._store, rule)

    def remove_rule(self, name: str) -> bool:
        return book.remove(self._store, name)

    def seed_rules(self, of_yaml: Sequence[RuleConfig]) -> None:
        book.seed(self._store, of_yaml)

    def put_value(self, key: str, value: str) -> None:
        self._store.put_value(key, value)

    def value(self, key: str) -> str | None:
        return self._store.value(key)

    def feeds(self) -> Sequence[FeedRecord]:
        return self._store.feeds()

    def num_watched(self) -> int:
        """Feeds that are not paused."""
        return sum(not feed.paused for feed in self._store.feeds())

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        return self._store.statuses()

    def verdicts_after(self, sequence: int | None) -> Verdicts:
        return verdicts_after(self._store, sequence)

    def prune(self) -> int:
        """Delete evidence and footage that are older than the site wants to keep."""
        media, now_s = open_media(self._site), time.time()
        names = {feed.feed_id for feed in self._store.feeds()}
        footage_days = self._site.training.footage_days
        return prune(media, now_s=now_s, keep_days=self._site.clips.keep_days) + prune_footage(
            media, names, now_s=now_s, keep_days=footage_days
        )

    def tracker(self, feed_id: str) -> Mapping[str, Any] | None:
        return self._store.tracker(feed_id)


class FusionShard:
    """A `FusionCore` in an actor: commits to the ledger before it answers."""

    def __init__(self, shard_id: int, site_json: str, channels: Mapping[str, Channel]) -> None:
        site = SiteConfig.model_validate_json(site_json)
        self._ledger = find(LEDGER)
        archivist = Archivist(channels, block_s=site.budget.block_s) if site.archive.enabled else None
        self._core = FusionCore(
            site,
            channels=channels,
            media=open_media(site),
            archivist=archivist,
            tracker_of=lambda feed_id: ray.get(self._ledger.tracker.remote(feed_id), timeout=CALL_TIMEOUT_S),
        )
        self._shares_budget = site.budget.alerts_per_day_for_site is not None
        self._lock = asyncio.Lock()
        self._unwritten: list[Commit] = []
        self._handing: Handing | None = None
        if archivist is not None:
            self._handing = Handing(archivist, lock=self._lock, archive=lambda: find(ARCHIVE))
        settle()
        loop = asyncio.get_running_loop()
        self._handing_task = loop.create_task(self._handing.run()) if self._handing is not None else None
        self._rules = RuleFollower(site, self._core, self._ledger)
        tasks = (self._snapshots(), self._listen(), self._follow_rules())
        self._background = [loop.create_task(task) for task in tasks]
        log.info("fusion-%d runs in process %d", shard_id, os.getpid())

    async def pid(self) -> int:
        return os.getpid()

    async def begin(self, feed_id: str, alerts_per_day: float | None) -> bool:
        async with self._lock:
            return await asyncio.to_thread(self._core.begin, feed_id, alerts_per_day)

    async def push(self, batch: FuseBatch) -> FuseReply:
        async with self._lock:
            reply, commits = await asyncio.to_thread(self._core.push, batch)
            # What has been decided must be written, even when the write before this one failed.
            self._unwritten += commits
            if self._unwritten or batch.evidence or batch.answers:
                await self._ledger.commit.remote(self._unwritten, batch.evidence, batch.answers)
                self._unwritten = []
        return reply

    async def adopt(self, adoptions: Sequence[FeedAdoption]) -> dict[str, int]:
        """Before another model is put to use; -> feed -> histories it took over."""
        async with self._lock:
            return await asyncio.to_thread(self._core.adopt, adoptions)

    async def give_fusion(self, data: bytes, version: str) -> bool:
        """Another trained fusion rule, or none; False: the site does not join modalities by one."""
        async with self._lock:
            return await asyncio.to_thread(self._core.give_fusion, data, version)

    async def release(self, feed_id: str) -> None:
        async with self._lock:
            await asyncio.to_thread(self._core.release, feed_id)

    async def save(self) -> None:
        """Write everything learned; called before an orderly end."""
        async with self._lock:
            await asyncio.to_thread(self._core.snapshot_some, all_feeds=True)
        if self._handing is not None:
            await self._handing.finish()

    async def _snapshots(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            async with self._lock:
                await asyncio.to_thread(self._core.snapshot_some)

    async def _listen(self) -> None:
        """Hear the operators' verdicts; while the ledger is away they wait in it."""
        while True:
            try:
                verdicts = await self._ledger.verdicts_after.remote(self._core.heard_until())
            except RayError as error:
                log.warning("the ledger did not answer verdicts_after: %s", type(error).__name__)
                await asyncio.sleep(VERDICTS_EVERY_S)
                continue
            async with self._lock:
                await asyncio.to_thread(self._core.hear, verdicts)
            if verdicts.is_last:
                await asyncio.sleep(VERDICTS_EVERY_S)

    async def _follow_rules(self) -> None:
        """Take over what the operators change: rules, number of feeds. While the ledger is away all stays as it is."""
        while True:
            try:
                commits = await self._rules.turn(self._lock)
                num_feeds = await self._ledger.num_watched.remote() if self._shares_budget else None
                async with self._lock:
                    self._unwritten += commits
                    if num_feeds is not None:
                        await asyncio.to_thread(self._core.share_budget, num_feeds)
            except RayError as error:
                log.warning("the ledger did not tell the rules: %s", type(error).__name__)
            await asyncio.sleep(RULES_EVERY_S)


class RemoteFuse:
    """How a decoder shard reaches its fusion actor, across the actor's deaths."""

    def __init__(self, name: str, budgets: Mapping[str, float | None]) -> None:
        self._name = name
        self._budgets = budgets
        self._handle: Any = None

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            if self._handle is None:
                self._handle = find(self._name)
            return await asyncio.wait_for(getattr(self._handle, method).remote(*args), CALL_TIMEOUT_S)
        except (RayActorError, GetTimeoutError, TimeoutError) as error:
            self._handle = None
            raise ConnectionError(f"{self._name} did not answer {method}: {type(error).__name__}") from error

    async def begin(self, feed_id: str) -> bool:
        while True:
            try:
                return bool(await self._call("begin", feed_id, self._budgets.get(feed_id)))
            except ConnectionError as error:
                log.warning("%s", error)
                await asyncio.sleep(0.5)

    async def push(self, batch: FuseBatch) -> FuseReply:
        reply: FuseReply = await self._call("push", batch)
        return reply

    async def release(self, feed_id: str) -> None:
        try:
            await self._call("release", feed_id)
        except ConnectionError as error:
            # A fusion actor that is away holds nothing of the feed; its last snapshot stands.
            log.warning("%s", error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Where a channel comes from, and what must be sent there."""

    encoder: str
    wants: InputSpec
    channel: Channel


class DecoderShard:
    """A `Shard` in an actor. Feeds are put into it by the supervisor."""

    def __init__(self, shard_id: int, site_json: str, replicas: Mapping[str, Replica]) -> None:
        site = SiteConfig.model_validate_json(site_json)
        self._id = shard_id
        self._where = {
            "shard": shard_id,
            "node": ray.get_runtime_context().get_node_id(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        self._budgets: dict[str, float | None] = {}
        self._clients = {channel: EncoderClient(replica.encoder) for channel, replica in replicas.items()}
        self._speakers = {name: SpeakerClient(name) for name in roles_of(site.understanding)}
        self._shard = Shard(
            site,
            encoders={name: (replica.wants, self._clients[name].encode) for name, replica in replicas.items()},
            fuse=RemoteFuse(f"fusion-{shard_id}", self._budgets),
            media=open_media(site),
            speakers=self._speakers,
        )
        self._ledger = find(LEDGER)
        settle()
        loop = asyncio.get_running_loop()
        self._watching = [loop.create_task(speaker.watch()) for speaker in self._speakers.values()]
        self._run = loop.create_task(self._shard.run())
        self._background = loop.create_task(self._report())

    async def add(self, settings: Mapping[str, Any], revision: int) -> None:
        feed = FeedConfig.model_validate(settings)
        self._budgets[feed.id] = feed.budget_alerts_per_day
        await self._shard.add(feed, revision)

    async def remove(self, feed_id: str) -> None:
        await self._shard.remove(feed_id)

    async def feeds(self) -> dict[str, int]:
        """What runs here; raises what ended the shard's loop, so that the supervisor replaces it."""
        if self._run.done():
            self._run.result()
        return self._shard.feeds()

    async def encoders(self) -> list[str]:
        """The channels that it can ask replicas for."""
        return sorted(self._clients)

    async def inject(self, items: Sequence[TextSpan | Reading]) -> int:
        return sum(self._shard.inject(item) for item in items)

    async def give_model(self, feed_id: str, encoder: str, data: bytes, version: str = "") -> bool:
        return self._shard.give_model(feed_id, encoder, data, version)

    async def where(self) -> Mapping[str, Any]:
        return self._where

    async def num_threads(self) -> int:
        return self._shard.num_threads

    async def stop(self) -> None:
        self._shard.stop()
        await asyncio.wait([self._run], timeout=5)

    async def _report(self) -> None:
        while True:
            statuses = await asyncio.to_thread(self._shard.statuses)
            dropped = {name: dict(client.counters) for name, client in self._clients.items()}
            shard = {"counters": dict(self._shard.counters), "encoders": dropped}
            if statuses:
                self._ledger.put_statuses.remote(
                    {
                        feed_id: {**status, **self._where, "shard_counters": shard}
                        for feed_id, status in statuses.items()
                    }
                )
            await asyncio.sleep(STATUS_EVERY_S)
