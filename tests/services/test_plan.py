"""The planner is a pure function: what is wanted, what runs, what to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmstream.storage.base import FeedRecord
from services.plan import Action, AddFeed, RemoveFeed, ReplaceShard, ShardState, StartShard, plan


def record(feed_id: str, revision: int = 1, paused: bool = False) -> FeedRecord:
    return FeedRecord(feed_id=feed_id, settings={"id": feed_id}, revision=revision, paused=paused)


def look(
    desired: list[FeedRecord], shards: dict[int, ShardState], homes: dict[str, int] | None = None, nodes: int = 1
) -> list[Action]:
    empty = {f"node-{number}": 0 for number in range(nodes)}
    return plan(desired, shards, homes or {}, nodes=empty, feeds_per_shard=4, hung_after_s=15)


def running(**feeds: int) -> ShardState:
    return ShardState(feeds=feeds)


def test_nothing_wanted_and_nothing_running_needs_nothing() -> None:
    assert look([], {}) == []


def test_the_first_feed_starts_a_shard_and_is_added_once_it_answers() -> None:
    assert look([record("a")], {}) == [StartShard(0, "node-0")]
    assert look([record("a")], {0: running()}) == [AddFeed(0, record("a"))]
    assert look([record("a")], {0: running(a=1)}) == []


def test_a_changed_feed_touches_only_itself() -> None:
    actions = look([record("a", 2), record("b", 1)], {0: running(a=1, b=1)})
    assert actions == [AddFeed(0, record("a", 2))]


def test_a_removed_or_paused_feed_is_stopped_and_its_neighbour_is_not() -> None:
    desired = [record("b"), record("c", paused=True)]
    actions = look(desired, {0: running(a=1, b=1, c=1)})
    assert actions == [RemoveFeed(0, "a"), RemoveFeed(0, "c")]


def test_feeds_are_spread_over_the_nodes() -> None:
    desired = [record(name) for name in "abcd"]
    assert look(desired, {}, nodes=3) == [StartShard(number, f"node-{number}") for number in range(3)]
    actions = look(desired, {0: running(), 1: running(), 2: running()}, nodes=3)
    assert sorted(action.shard_id for action in actions if isinstance(action, AddFeed)) == [0, 0, 1, 2]


def test_a_node_that_joins_gets_a_shard_of_its_own() -> None:
    desired, shards = [record(name) for name in "abc"], {0: running(a=1, b=1), 1: running(c=1)}
    nodes = {"a-full-one": 1, "joined": 0, "another": 1}
    assert plan(desired, shards, {}, nodes=nodes, feeds_per_shard=4) == [StartShard(2, "joined")]


def test_a_shard_waits_for_a_node_that_can_run_it() -> None:
    assert look([record("a")], {}, nodes=0) == []


def test_a_full_shard_makes_room_by_another() -> None:
    desired = [record(name) for name in "abcde"]
    assert StartShard(1, "node-0") in look(desired, {0: running(a=1, b=1, c=1, d=1)})


def test_a_silent_shard_keeps_its_feeds_while_it_comes_back() -> None:
    shards = {0: ShardState(feeds=None, silent_s=4), 1: running()}
    assert look([record("a")], shards, {"a": 0}, nodes=2) == []


def test_a_shard_that_is_silent_for_too_long_is_replaced() -> None:
    assert look([record("a")], {0: ShardState(feeds=None, silent_s=16)}, {"a": 0}) == [ReplaceShard(0)]


def test_a_shard_that_came_back_empty_gets_its_feeds_again() -> None:
    shards = {0: running(), 1: running(b=1)}
    assert look([record("a"), record("b")], shards, {"a": 0, "b": 1}, nodes=2) == [AddFeed(0, record("a"))]


def test_a_feed_that_runs_twice_is_stopped_in_one_place() -> None:
    actions = look([record("a")], {0: running(a=1), 1: running(a=1)}, nodes=2)
    assert actions == [RemoveFeed(1, "a")]


NAMES = st.sampled_from("abcdefgh")
STATES = st.builds(
    ShardState,
    feeds=st.one_of(st.none(), st.dictionaries(NAMES, st.integers(1, 2), max_size=5)),
    silent_s=st.floats(0, 30),
)


@given(
    st.lists(st.builds(record, NAMES, st.integers(1, 2), st.booleans()), unique_by=lambda item: item.feed_id),
    st.lists(STATES, max_size=3).map(lambda states: dict(enumerate(states))),
    st.dictionaries(NAMES, st.integers(0, 3)),
    st.integers(1, 4),
)
def test_applying_plans_until_nothing_is_left_runs_every_wanted_feed_exactly_once(
    desired: list[FeedRecord], shards: dict[int, ShardState], homes: dict[str, int], nodes: int
) -> None:
    wanted = {item.feed_id: item.revision for item in desired if not item.paused}
    for _ in range(6):
        actions = look(desired, shards, homes, nodes)
        if not actions and all(state.feeds is not None for state in shards.values()):
            break
        world = {number: dict(state.feeds or {}) for number, state in shards.items()}
        for action in actions:
            match action:
                case StartShard(number) | ReplaceShard(number):
                    world.setdefault(number, {})
                case AddFeed(number, item):
                    world[number][item.feed_id] = item.revision
                case RemoveFeed(number, feed_id):
                    del world[number][feed_id]
        shards = {number: ShardState(feeds=feeds) for number, feeds in world.items()}
        homes = homes | {feed_id: number for number, feeds in world.items() for feed_id in feeds}
    everywhere = [(feed_id, revision) for state in shards.values() for feed_id, revision in (state.feeds or {}).items()]
    assert sorted(everywhere) == sorted(wanted.items())
