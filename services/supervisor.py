"""Makes what runs equal to what the operator wants, again and again.

What to do is decided by the pure function `services.plan.plan`. The actor around it holds no state
of its own, so killing it costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any

import ray
from ray.exceptions import RayActorError

from mmstream.config import EncoderSection, SiteConfig
from mmstream.encoders import EDGE_ENCODERS
from mmstream.stages import load
from mmstream.types import Channel
from services.actors import LEDGER, DecoderShard, FusionShard, Replica, find, first_on, launch
from services.encoders import EncoderClient
from services.plan import Action, AddFeed, RemoveFeed, ReplaceShard, ShardState, StartShard, plan

log = logging.getLogger(__name__)

SUPERVISOR = "supervisor"
RECONCILE_EVERY_S = 1.0
ANSWER_WITHIN_S = 3.0
STARTING_S = 45.0
"""A shard that starts is not hung: on a busy machine its process alone takes ten seconds."""
PRUNE_EVERY_S = 3600.0


def what_is_measured(section: EncoderSection) -> tuple[dict[str, Channel], dict[str, Replica]]:
    """All channels by name, and for those that replicas give: which encoder, and what it wants to be given.

    Waits for the replicas.
    """
    edge: list[Channel] = [load(EDGE_ENCODERS, name).channel for name in section.edge]
    channels = {channel.name: channel for channel in edge}
    replicas = {}
    for name in section.replicas:
        description = EncoderClient.describe(name)
        channels[description.channel.name] = description.channel
        replicas[description.channel.name] = Replica(encoder=name, wants=description.wants)
    return channels, replicas


class Supervisor:
    """One detached actor that looks once a second."""

    def __init__(self, site_json: str) -> None:
        self._site_json = site_json
        self._site = SiteConfig.model_validate_json(site_json)
        self._channels: dict[str, Channel] = {}
        self._replicas: dict[str, Replica] = {}
        self._ledger = find(LEDGER)
        self._handles: dict[int, Any] = {}
        self._answered_s: dict[int, float] = {}
        self._node_of: dict[int, str] = {}
        self._prune_s = 0.0
        self._stopping = False
        self._trouble = ""
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def trouble(self) -> str:
        """Why the last look failed; empty when it did not."""
        return self._trouble

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

    def _adopt(self) -> None:
        """Find the shards that a predecessor started."""
        shard_id = 0
        while True:
            try:
                self._handles[shard_id] = find(f"decoder-{shard_id}")
            except ConnectionError:
                return
            self._answered_s[shard_id] = time.monotonic()
            shard_id += 1

    async def _reconcile(self) -> None:
        if not self._channels:
            self._channels, self._replicas = await asyncio.to_thread(what_is_measured, self._site.encoders)
        desired, statuses = await asyncio.gather(self._ledger.feeds.remote(), self._ledger.statuses.remote())
        shards = dict(zip(self._handles, await asyncio.gather(*map(self._look, self._handles)), strict=True))
        homes = {feed_id: status["shard"] for feed_id, status in statuses.items() if "shard" in status}
        self._node_of |= {status["shard"]: status["node"] for status in statuses.values() if "node" in status}
        nodes = self._shards_per_node()
        actions = plan(desired, shards, homes, nodes=nodes, feeds_per_shard=self._site.shards.feeds_per_shard)
        for action in actions:
            log.info("%s", action)
            await self._apply(action)
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

    async def _apply(self, action: Action) -> None:
        match action:
            case StartShard(shard_id, node):
                options = first_on(node)
                launch(FusionShard, f"fusion-{shard_id}", shard_id, self._site_json, self._channels, options=options)
                self._handles[shard_id] = launch(
                    DecoderShard, f"decoder-{shard_id}", shard_id, self._site_json, self._replicas, options=options
                )
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
        await self._loop
        for shard_id, handle in self._handles.items():
            try:
                await asyncio.wait_for(handle.stop.remote(), 10)
                await asyncio.wait_for(find(f"fusion-{shard_id}").save.remote(), 20)
            except (RayActorError, TimeoutError, ConnectionError) as error:
                log.warning("shard %d did not end in order: %s", shard_id, error)
            for name in (f"decoder-{shard_id}", f"fusion-{shard_id}"):
                try:
                    ray.kill(find(name))
                except ConnectionError:
                    log.info("%s had ended already", name)
