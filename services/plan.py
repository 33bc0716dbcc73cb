"""What the supervisor does, as a pure function: what is wanted, what runs, and out come actions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmstream.storage.base import FeedRecord

HUNG_AFTER_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What a shard answered. ``feeds`` is None when it did not."""

    feeds: Mapping[str, int] | None
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StartShard:
    shard_id: int
    node: str


@dataclass(frozen=True, slots=True)
class ReplaceShard:
    """It has been silent for too long: kill the process, Ray starts it again."""

    shard_id: int


@dataclass(frozen=True, slots=True)
class AddFeed:
    shard_id: int
    record: FeedRecord


@dataclass(frozen=True, slots=True)
class RemoveFeed:
    shard_id: int
    feed_id: str


Action = StartShard | ReplaceShard | AddFeed | RemoveFeed


def plan(
    desired: Sequence[FeedRecord],
    shards: Mapping[int, ShardState],
    homes: Mapping[str, int],
    *,
    nodes: Mapping[str, int],
    feeds_per_shard: int,
    hung_after_s: float = HUNG_AFTER_S,
) -> list[Action]:
    """What to do so that every wanted feed runs exactly once, in its newest revision.

    ``homes`` is the shard that each feed last ran in. A feed stays at home while that shard exists,
    even when it is silent: it is coming back, and two shards must never read one camera.
    ``nodes`` counts the shards on every node that can run one; a new shard goes to the emptiest, or waits for a node.
    """
    wanted = {record.feed_id: record for record in desired if not record.paused}
    num_shards = max(len(shards), min(len(nodes), len(wanted)), math.ceil(len(wanted) / feeds_per_shard))
    actions: list[Action] = []
    shards_on = dict(nodes)
    for shard_id in range(num_shards):
        if shard_id not in shards and shards_on:
            node = min(shards_on, key=lambda node: (shards_on[node], node))
            shards_on[node] += 1
            actions.append(StartShard(shard_id, node))
    running: dict[str, int] = {}
    for shard_id, state in sorted(shards.items()):
        if state.feeds is None:
            if state.silent_s > hung_after_s:
                actions.append(ReplaceShard(shard_id))
            continue
        for feed_id in sorted(state.feeds):
            if feed_id not in wanted or feed_id in running:
                actions.append(RemoveFeed(shard_id, feed_id))
            else:
                running[feed_id] = shard_id
    placed = {feed_id: homes[feed_id] for feed_id in wanted if homes.get(feed_id, num_shards) < num_shards} | running
    load = Counter(placed.values())
    for feed_id, record in wanted.items():
        if feed_id not in placed:
            placed[feed_id] = min(range(num_shards), key=lambda shard_id: (load[shard_id], shard_id))
            load[placed[feed_id]] += 1
        home = shards.get(placed[feed_id])
        if home is not None and home.feeds is not None and home.feeds.get(feed_id) != record.revision:
            actions.append(AddFeed(placed[feed_id], record))
    return actions
