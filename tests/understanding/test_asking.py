"""What is worth asking: no second of sound twice, no unusual second left out, few pictures."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mmstream.understanding.asking import (
    AFTER_S,
    BEFORE_S,
    CAPTIONS_PER_EPISODE,
    EPISODE_GAP_S,
    MAX_GROWING,
    STRETCH_S,
    Listening,
    Looking,
    Stretch,
)
from mmstream.understanding.ondemand import Attention


def unusual(at_s: float, surprise: float = 3.0) -> Attention:
    return Attention(feed_id="cam", start_s=at_s, end_s=at_s + 2.0, surprise=surprise)


seconds = st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60)


@given(seconds)
def test_no_second_is_asked_about_twice_none_that_is_unusual_is_left_out_and_all_pieces_are_short(
    moments: list[tuple[int, bool]],
) -> None:
    listening = Listening()
    stretches: list[Stretch] = []
    for second, is_unusual in sorted(moments):
        if is_unusual:
            listening.unusual(second, second + 2.0, surprise=3.0)
        else:
            listening.spoken(second, second + 2.0)
        stretches += listening.ripe(second + 1.0)
    stretches += listening.ripe(float("inf"))
    for before, after in itertools.pairwise(sorted(stretches, key=lambda stretch: stretch.start_s)):
        assert before.end_s <= after.start_s
    assert all(0 < stretch.end_s - stretch.start_s <= STRETCH_S for stretch in stretches)
    for second, _ in moments:
        # less than a second between two pieces is not worth a question
        covered = [stretch for stretch in stretches if stretch.start_s - 1 < second + 1.0 < stretch.end_s + 1]
        assert covered
    assert listening.num_dropped == 0


def test_an_episode_is_one_stretch_with_what_led_up_to_it() -> None:
    listening = Listening()
    for at_s in (100.0, 101.0, 102.0):
        listening.unusual(at_s, at_s + 2.0, surprise=at_s / 100)
    assert listening.ripe(104.0 + AFTER_S - 0.1) == []
    assert listening.ripe(104.0 + AFTER_S) == [
        Stretch(start_s=100.0 - BEFORE_S, end_s=104.0 + AFTER_S, surprise=1.02, unusual=True)
    ]
    assert listening.ripe(float("inf")) == []


def test_a_long_episode_is_asked_about_while_it_lasts() -> None:
    listening = Listening()
    first_asked_at_s = None
    for at_s in range(100, 160):
        listening.unusual(at_s, at_s + 2.0, surprise=3.0)
        if first_asked_at_s is None and listening.ripe(at_s + 2.0):
            first_asked_at_s = at_s + 2.0
    assert first_asked_at_s == 100.0 - BEFORE_S + STRETCH_S


def test_speech_in_an_unusual_window_is_asked_about_as_unusual() -> None:
    listening = Listening()
    listening.spoken(100.5, 101.5)
    listening.unusual(100.0, 102.0, surprise=4.0)
    [stretch] = listening.ripe(float("inf"))
    assert stretch.unusual
    assert stretch.surprise == 4.0


def test_what_is_found_unusual_later_than_newer_speech_is_not_lost() -> None:
    listening = Listening()
    listening.spoken(120.0, 121.0)
    listening.unusual(100.0, 102.0, surprise=4.0)
    assert [(stretch.start_s, stretch.unusual) for stretch in listening.ripe(float("inf"))] == [
        (95.0, True),
        (119.0, False),
    ]


def test_of_too_many_stretches_the_least_unusual_goes() -> None:
    listening = Listening()
    for number in range(MAX_GROWING):
        listening.unusual(number * 100.0, number * 100.0 + 2.0, surprise=3.0)
    listening.spoken(5000.0, 5001.0)
    assert listening.num_dropped == 1
    stretches = listening.ripe(float("inf"))
    assert len(stretches) == MAX_GROWING
    assert all(stretch.unusual for stretch in stretches)


def test_a_clock_that_is_set_back_does_not_silence_the_feed() -> None:
    listening = Listening()
    listening.unusual(1000.0, 1002.0, surprise=3.0)
    assert len(listening.ripe(float("inf"))) == 1
    back_s = 800.0
    listening.unusual(back_s, back_s + 2, surprise=3.0)
    assert len(listening.ripe(float("inf"))) == 1


def test_pictures_are_asked_for_at_the_start_of_an_episode_and_when_it_clearly_grows() -> None:
    looking = Looking()
    surprises = {100: 3.0, 101: 4.0, 105: 3.2, 106: 3.6, 112: 4.2, 118: 9.0}
    assert [at_s for at_s, surprise in surprises.items() if looking.worth_it(unusual(at_s, surprise))] == [
        100,
        106,
        112,
    ]
    assert looking.worth_it(unusual(118 + EPISODE_GAP_S, 1.0))


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 9)), max_size=80))
def test_an_episode_never_costs_more_than_three_pictures(steps: list[tuple[int, float]]) -> None:
    looking, at_s, num_asked = Looking(), 0.0, 0
    for gap_s, surprise in steps:
        at_s += gap_s
        num_asked += looking.worth_it(unusual(at_s, surprise))
    assert num_asked <= CAPTIONS_PER_EPISODE
