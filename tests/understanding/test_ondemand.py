"""The queue of moments: bounded, the most unusual first, and no feed takes what is another's."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.understanding.ondemand import MomentQueue, Tier, Waiting


class Moments:
    """Puts moments into a queue and notes what becomes of them."""

    def __init__(self, capacity: int) -> None:
        self.queue = MomentQueue(capacity)
        self.made: list[Waiting] = []
        self.dropped: list[int] = []
        self.started: list[int] = []

    def put(self, feed: str = "a", surprise: float = 3.0, tier: Tier = Tier.UNUSUAL, give_up_s: float = 30.0) -> None:
        number = len(self.made)
        moment = Waiting(
            feed_id=feed,
            tier=tier,
            surprise=surprise,
            give_up_s=give_up_s,
            start=lambda: self.started.append(number),
            drop=lambda: self.dropped.append(number),
        )
        self.made.append(moment)
        self.queue.put(moment)

    def take(self) -> Waiting | None:
        moment = self.queue.take()
        if moment is not None:
            moment.start()
        return moment

    def waiting(self) -> set[int]:
        return set(range(len(self.made))) - set(self.dropped) - set(self.started)


asked = st.tuples(st.sampled_from("abcde"), st.floats(0, 8), st.sampled_from(list(Tier)))
steps = st.lists(st.one_of(asked, st.just("take"), st.integers(1, 40)), max_size=80)


@given(st.integers(1, 12), steps)
def test_every_moment_is_asked_or_dropped_once_and_never_more_than_the_capacity_wait(
    capacity: int, script: list[tuple[str, float, Tier] | str | int]
) -> None:
    moments, now_s = Moments(capacity), 0.0
    for step in script:
        match step:
            case (feed, surprise, tier):
                moments.put(feed, surprise, tier, give_up_s=now_s + 30)
            case int(seconds):
                now_s += seconds
                moments.queue.expire(now_s)
                assert all(moments.made[number].give_up_s > now_s for number in moments.waiting())
            case _:
                moments.take()
        assert len(moments.queue) <= capacity
        assert len(moments.queue) == len(moments.waiting())
    counters = moments.queue.counters
    assert counters["dropped_full"] + counters["dropped_old"] == len(moments.dropped) == len(set(moments.dropped))
    assert counters["asked"] == len(moments.started) == len(set(moments.started))
    assert not set(moments.started) & set(moments.dropped)


@given(st.integers(2, 16), st.lists(st.floats(0, 8), min_size=1, max_size=60), st.data())
def test_a_noisy_camera_takes_no_place_within_its_neighbours_share(
    capacity: int, noise: list[float], data: st.DataObject
) -> None:
    moments = Moments(capacity)
    mine = data.draw(st.lists(st.floats(0, 8), max_size=capacity // 2))
    arrivals = data.draw(st.permutations([("quiet", s) for s in mine] + [("noisy", s + 10) for s in noise]))
    for feed, surprise in arrivals:
        moments.put(feed, surprise)
    assert all(moments.made[number].feed_id == "noisy" for number in moments.dropped)


@given(st.lists(st.floats(0, 8), min_size=1, max_size=40), st.integers(1, 10))
def test_of_one_feed_the_least_unusual_goes_first(surprises: list[float], capacity: int) -> None:
    moments = Moments(capacity)
    for surprise in surprises:
        moments.put(surprise=surprise)
    kept = sorted((moments.made[number].surprise for number in moments.waiting()), reverse=True)
    assert kept == sorted(surprises, reverse=True)[:capacity]
    taken = []
    while (moment := moments.take()) is not None:
        taken.append(moment.surprise)
    assert taken == kept


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_within_two_turns_per_feed_everybody_who_waits_is_asked_about(feeds: list[str]) -> None:
    moments = Moments(100)
    for number in range(50):
        moments.put("noisy", 10.0 + number)
    for feed in feeds:
        moments.put(feed, 1.0)
    num_feeds = len(set(feeds)) + 1
    taken = [moments.take() for _ in range(2 * num_feeds)]
    assert {moment.feed_id for moment in taken if moment is not None} == {*feeds, "noisy"}


def test_every_other_turn_belongs_to_the_most_unusual_moment_of_all() -> None:
    moments = Moments(100)
    for number in range(10):
        moments.put("noisy", 10.0 + number)
        moments.put("quiet", 1.0 + number)
    taken = [moment.feed_id for _ in range(6) if (moment := moments.take()) is not None]
    assert taken == ["noisy", "quiet", "noisy", "quiet", "noisy", "quiet"]
    assert [moments.made[number].surprise for number in moments.started] == [19, 10, 18, 9, 17, 8]


def test_what_is_only_spoken_waits_for_what_is_unusual_and_all_wait_for_a_confirmation() -> None:
    moments = Moments(4)
    moments.put("a", 0.0, Tier.SPOKEN)
    moments.put("a", 2.0, Tier.UNUSUAL)
    moments.put("b", 9.0, Tier.NARRATE)
    moments.put("c", 0.0, Tier.CONFIRM)
    tiers = [moment.tier for _ in range(4) if (moment := moments.take()) is not None]
    assert tiers == [Tier.CONFIRM, Tier.NARRATE, Tier.UNUSUAL, Tier.SPOKEN]


def test_a_newcomer_that_matters_less_than_all_others_of_its_feed_is_the_one_that_goes() -> None:
    moments = Moments(2)
    for surprise in (3.0, 4.0, 1.0):
        moments.put(surprise=surprise)
    assert moments.dropped == [2]
    assert moments.queue.counters["dropped_full"] == 1


def test_what_is_too_old_and_what_belongs_to_a_feed_that_left_is_dropped() -> None:
    moments = Moments(5)
    moments.put("a", give_up_s=10.0)
    moments.put("b", give_up_s=20.0)
    moments.put("c", give_up_s=30.0)
    moments.queue.expire(10.0)
    moments.queue.discard("b")
    assert moments.dropped == [0, 1]
    assert moments.queue.counters["dropped_old"] == 2
    assert Counter(moments.made[number].feed_id for number in moments.waiting()) == {"c": 1}


def test_a_queue_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        MomentQueue(0)
