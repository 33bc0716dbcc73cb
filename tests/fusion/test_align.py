from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.fusion.align import MAX_OPEN, Aligner
from mmstream.types import AlignedWindow, Embedding, EncodedWindow


def make_embedding(start_s: float, channel: str = "vision") -> Embedding:
    return Embedding(
        feed_id="a", start_s=start_s, end_s=start_s + 2, channel=channel, vector=np.zeros(2, np.float32), model="m@1"
    )


def make_window(start_s: float, *pending: str, history: bool = False) -> EncodedWindow:
    return EncodedWindow(
        feed_id="a",
        start_s=start_s,
        end_s=start_s + 2,
        embeddings=(make_embedding(start_s, "motion"),),
        pending=frozenset(pending),
        history=history,
    )


def starts(windows: list[AlignedWindow]) -> list[float]:
    return [window.start_s for window in windows]


def test_a_window_that_waits_for_nothing_leaves_at_once():
    [window] = Aligner(max_wait_s=3).push(make_window(0.0))
    assert [embedding.channel for embedding in window.embeddings] == ["motion"]


def test_a_window_leaves_when_its_last_channel_came():
    aligner = Aligner(max_wait_s=3)
    assert aligner.push(make_window(0.0, "vision", "speech")) == []
    assert aligner.push(make_embedding(0.0, "vision")) == []
    [window] = aligner.push(make_embedding(0.0, "speech"))
    assert {embedding.channel for embedding in window.embeddings} == {"motion", "vision", "speech"}
    assert window.missing == frozenset()


def test_windows_leave_in_order_even_when_a_later_one_is_complete_first():
    aligner = Aligner(max_wait_s=10)
    assert aligner.push(make_window(0.0, "vision")) == []
    assert aligner.push(make_window(1.0)) == []
    assert starts(aligner.push(make_embedding(0.0))) == [0.0, 1.0]


def test_a_channel_that_never_comes_is_waited_for_in_the_feeds_own_time():
    aligner = Aligner(max_wait_s=3)
    aligner.push(make_window(0.0, "vision"))
    assert aligner.push(make_window(2.0)) == []
    released = aligner.push(make_window(3.0))
    assert starts(released) == [0.0, 2.0, 3.0]
    assert released[0].missing == {"vision"}
    assert aligner.num_missing == 1
    assert aligner.push(make_embedding(0.0)) == []
    assert aligner.num_late == 1


def test_an_embedding_that_overtook_its_window_is_used():
    aligner = Aligner(max_wait_s=3)
    assert aligner.push(make_embedding(0.0)) == []
    [window] = aligner.push(make_window(0.0, "vision"))
    assert len(window.embeddings) == 2


def test_windows_that_were_sent_twice_are_counted_and_left_out():
    aligner = Aligner(max_wait_s=3)
    aligner.push(make_window(0.0))
    assert aligner.push(make_window(0.0)) == []
    assert aligner.num_stale == 1


def test_open_windows_are_bounded():
    aligner = Aligner(max_wait_s=60)
    released = [w for i in range(2 * MAX_OPEN) for w in aligner.push(make_window(i * 0.1, "vision"))]
    assert len(released) == MAX_OPEN


def test_live_windows_do_not_wait_for_the_clock_of_history():
    aligner = Aligner(max_wait_s=3)
    aligner.push(make_window(1000.0, "vision", history=True))
    assert starts(aligner.push(make_window(10.0))) == [1000.0, 10.0]


def test_flush_gives_what_is_left():
    aligner = Aligner(max_wait_s=3)
    aligner.push(make_window(0.0, "vision"))
    assert starts(aligner.flush()) == [0.0]
    assert aligner.flush() == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=80), st.sampled_from([0.0, 2.0, 5.0]))
def test_every_window_leaves_exactly_once_and_in_order(steps, max_wait_s):
    aligner = Aligner(max_wait_s=max_wait_s)
    released = []
    pushed = []
    for second, is_window in steps:
        if is_window and second > max(pushed, default=-1):
            pushed.append(second)
            released += aligner.push(make_window(float(second), "vision"))
        else:
            released += aligner.push(make_embedding(float(second)))
    released += aligner.flush()
    assert starts(released) == pushed


def test_a_negative_wait_is_refused():
    with pytest.raises(ValueError, match="max_wait_s"):
        Aligner(max_wait_s=-1)
