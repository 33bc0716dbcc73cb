"""Makes what runs equal to what the operator wants, again and again.

What to do is decided by the pure function `services.plan.plan`. The actor around it holds no state
of its own, so killing it costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError

from mmstream.config import EncoderSection, SiteConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.stages import load
from mmstream.training.swap import Swapped
from mmstream.types import Channel
from services.actors import LEDGER, NAMESPACE, DecoderShard, FusionShard, Replica, find, first_on, launch
from services.encoders import STARTS_WITHIN_S, describe_all
from services.model_record import What
from services.models import ModelKeeper
from services.plan import Action, AddFeed, RemoveFeed, ReplaceShard, ShardState, StartShard, plan
from services.routes.context import MISSING_ENCODERS
from services.trainer import train_nightly

log = logging.getLogger(__name__)

SUPERVISOR = "supervisor"
RECONCILE_EVERY_S = 1.0
ANSWER_WITHIN_S = 3.0
STARTING_S = 45.0
"""A shard that starts is not hung: on a busy machine its process alone takes ten seconds."""
PRUNE_EVERY_S = 3600.0
FIND_EVERY_S = 5.0


@dataclass(slots=True, kw_only=True)
class Measured:
    """What the site can measure so far."""

    channels: dict[str, Channel]
    """All, by name."""
    replicas: dict[str, Replica]
    """For those that replicas give: which encoder, and what it wants to be given."""
    missing: dict[str, str]
    """Encoders that the site runs without for now, and why."""


def what_is_measured(section: EncoderSection, known: Mapping[str, Replica], *, patience_s: float) -> Measured:
    """Asks the encoders that are not ``known`` yet, and waits for them at most ``patience_s``."""
    edge: list[Channel] = [load(EDGE_ENCODERS, name).channel for name in section.edge]
    measured = Measured(channels={channel.name: channel for channel in edge}, replicas=dict(known), missing={})
    asked = {replica.encoder for replica in known.values()}
    found, measured.missing = describe_all(
        [name for name in section.replicas if name not in asked], patience_s=patience_s
    )
    for name, description in found.items():
        measured.replicas[description.channel.name] = Replica(
            encoder=name, wants=description.wants, channel=description.channel
        )
    measured.channels |= {name: replica.channel for name, replica in measured.replicas.items()}
    return measured


class Supervisor:
    """One detached actor that looks once a second."""

    def __init__(self, site_json: str) -> None:
        self._site_json = site_json
        self._site = SiteConfig.model_validate_json(site_json)
        self._measured: Measured | None = None
        self._given: dict[int, frozenset[str]] = {}
        """Shard -> channels of replicas that it was started with."""
        self._ledger = find(LEDGER)
        self._handles: dict[int, Any] = {}
        self._answered_s: dict[int, float] = {}
        self._node_of: dict[int, str] = {}
        self._prune_s = 0.0
        self._stopping = False
        self._trouble = ""
        loop = asyncio.get_running_loop()
        self._loop = loop.create_task(self._run())
        self._finding = loop.create_task(self._find_encoders())
        self._gone: frozenset[str] = frozenset()
        """Channels whose encoder has given its model up."""
        self._models = ModelKeeper(self._site, self._ledger, look_for_encoders=self._look_for_encoders)
        self._keeping = loop.create_task(self._models.run())
        self._training = loop.create_task(train_nightly(self._site)) if self._site.training.enabled else None

    async def trouble(self) -> str:
        """Why the last look failed; empty when it did not."""
        return self._trouble

    async def pid(self) -> int:
        return os.getpid()

    async def promote_model(self, model: str, version: str, reason: str) -> Swapped:
        """Waits until it is in use; raises MmstreamError: it could not be."""
        return await self._models.promote(model, version, reason)

    async def begin_swap(self, what: What, model: str, version: str, reason: str) -> None:
        """Raises ValueError: another swap is under way."""
        self._models.begin(what, model, version, reason)

    async def _run(self) -> None:
        self._adopt()
        while not self._stopping:
            try:
                await self._reconcile()
                self._trouble = ""
            except Exception as error:
                # The one broad except of this loop: whatever fails now is tried again in a second.
                self._trouble = f"{type(error).__name__}: {error}"
                log.exception("reconciling failed")
            await asyncio.sleep(RECONCILE_EVERY_S)

    def _look_for_encoders(self) -> None:
        """An encoder has got its first model, or given up its last: ask all of them anew."""
        self._finding.cancel()
        self._finding = asyncio.get_running_loop().create_task(self._find_encoders(anew=True))

    async def _find_encoders(self, *, anew: bool = False) -> None:
        """Ask until every encoder of the site has a model; keep in the store which have none, for all to see."""
        patience_s = ANSWER_WITHIN_S if self._handles and not anew else STARTS_WITHIN_S
        while True:
            known = self._measured.replicas if self._measured is not None and not anew else {}
            try:
                measured = await asyncio.to_thread(what_is_measured, self._site.encoders, known, patience_s=patience_s)
                await self._ledger.put_value.remote(MISSING_ENCODERS, json.dumps(measured.missing))
            except Exception as error:
                # This loop's one broad except: a site that looks for its encoders must not stop looking.
                self._trouble = f"{type(error).__name__}: {error}"
                log.exception("looking for encoders failed")
            else:
                for name, reason in measured.missing.items():
                    if self._measured is None or self._measured.missing.get(name) != reason:
                        log.warning("the site runs without the encoder %r: %s", name, reason)
                if anew and self._measured is not None:
                    self._gone = frozenset(self._measured.replicas.keys() - measured.replicas.keys())
                self._measured, anew = measured, False
                if not measured.missing:
                    return
                patience_s = ANSWER_WITHIN_S
            await asyncio.sleep(FIND_EVERY_S)

    def _adopt(self) -> None:
        """Find the shards that a predecessor started."""
        for actor in ray.util.list_named_actors(all_namespaces=True):
            kind, _, shard_id = actor["name"].rpartition("-")
            if (kind, actor["namespace"]) == ("decoder", NAMESPACE):
                self._handles[int(shard_id)] = find(actor["name"])
                self._answered_s[int(shard_id)] = time.monotonic()

    async def _reconcile(self) -> None:
        measured = self._measured
        if measured is None:
            return  # the encoders are still starting
        await self._renew_one(measured)
        desired, statuses = await asyncio.gather(self._ledger.feeds.remote(), self._ledger.statuses.remote())
        shards = dict(zip(self._handles, await asyncio.gather(*map(self._look, self._handles)), strict=True))
        homes = {feed_id: status["shard"] for feed_id, status in statuses.items() if "shard" in status}
        self._node_of |= {status["shard"]: status["node"] for status in statuses.values() if "node" in status}
        nodes = self._shards_per_node()
        actions = plan(desired, shards, homes, nodes=nodes, feeds_per_shard=self._site.shards.feeds_per_shard)
        for action in actions:
            log.info("%s", action)
            await self._apply(action, measured)
        paused = {
            record.feed_id: {"state": "paused", "code": "", "sentence": f"{record.feed_id}: paused.", "counters": {}}
            for record in desired
            if record.paused and statuses.get(record.feed_id, {}).get("state") != "paused"
        }
        if time.monotonic() >= self._prune_s:
            self._prune_s = time.monotonic() + PRUNE_EVERY_S
            await self._ledger.prune.remote()
        if paused:
            await self._ledger.put_statuses.remote(paused)

    def _shards_per_node(self) -> dict[str, int]:
        """Nodes that can run actors (a head may lend no CPU), with how many of our shards each has."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        able = [node["NodeID"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
        count = Counter(self._node_of.get(shard_id) for shard_id in self._handles)
        return {node: count[node] for node in able}

    async def _look(self, shard_id: int) -> ShardState:
        try:
            feeds = await asyncio.wait_for(self._handles[shard_id].feeds.remote(), ANSWER_WITHIN_S)
        except (RayActorError, TimeoutError):
            return ShardState(feeds=None, silent_s=time.monotonic() - self._answered_s[shard_id])
        self._answered_s[shard_id] = time.monotonic()
        return ShardState(feeds=feeds)

    async def _renew_one(self, measured: Measured) -> None:
        """End one shard that was started before some encoder had a model; the plan starts it again, with all it needs.

        One at a time, and every feed learns on where it was: what a shard knows is written before it ends.
        """
        for shard_id, handle in self._handles.items():
            try:
                if shard_id not in self._given:
                    encoders = await asyncio.wait_for(handle.encoders.remote(), ANSWER_WITHIN_S)
                    self._given[shard_id] = frozenset(encoders)
            except (RayActorError, TimeoutError):
                continue  # it is starting or hung, which is not looked at here
            if not measured.replicas.keys() <= self._given[shard_id] or self._given[shard_id] & self._gone:
                log.info("shard %d starts again, with %s", shard_id, ", ".join(measured.replicas))
                await self._end(shard_id, handle)
                del self._handles[shard_id], self._given[shard_id]
                return

    async def _apply(self, action: Action, measured: Measured) -> None:
        match action:
            case StartShard(shard_id, node):
                options = first_on(node)
                launch(FusionShard, f"fusion-{shard_id}", shard_id, self._site_json, measured.channels, options=options)
                self._handles[shard_id] = launch(
                    DecoderShard, f"decoder-{shard_id}", shard_id, self._site_json, measured.replicas, options=options
                )
                self._given[shard_id] = frozenset(measured.replicas)
                self._answered_s[shard_id] = time.monotonic() + STARTING_S
                self._node_of[shard_id] = node
            case ReplaceShard(shard_id):
                self._answered_s[shard_id] = time.monotonic() + STARTING_S
                ray.kill(self._handles[shard_id], no_restart=False)
            case AddFeed(shard_id, record):
                self._handles[shard_id].add.remote(dict(record.settings), record.revision)
            case RemoveFeed(shard_id, feed_id):
                self._handles[shard_id].remove.remote(feed_id)

    async def stop(self) -> None:
        """End every shard in order: no more reading, then what was learned is written."""
        self._stopping = True
        self._finding.cancel()
        self._keeping.cancel()
        if self._training is not None:
            self._training.cancel()
        await self._loop
        for shard_id, handle in self._handles.items():
            await self._end(shard_id, handle)

    async def _end(self, shard_id: int, handle: Any) -> None:
        """No more reading, then what was learned is written, then both actors are gone, their names too."""
        try:
            await asyncio.wait_for(handle.stop.remote(), 10)
            await asyncio.wait_for(find(f"fusion-{shard_id}").save.remote(), 20)
        except (RayActorError, TimeoutError, ConnectionError) as error:
            log.warning("shard %d did not end in order: %s", shard_id, error)
        for name in (f"decoder-{shard_id}", f"fusion-{shard_id}"):
            await self._kill(name)

    async def _kill(self, name: str) -> None:
        """Ray forgets a name a moment after the kill: until then `launch` would find the dying actor."""
        deadline_s = time.monotonic() + ANSWER_WITHIN_S
        try:
            ray.kill(find(name))
            while time.monotonic() < deadline_s:
                find(name)
                await asyncio.sleep(0.05)
        except ConnectionError:
            return  # it is gone
        log.warning("%s is still there %.0f s after it was killed", name, ANSWER_WITHIN_S)
