"""The hand-over between threads."""

from __future__ import annotations

import threading
import time

import pytest

from mmstream.buffers import Mailbox

DEADLINE_S = 10.0


def start(target: object) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def until_waiting(mailbox: Mailbox[int], thread: threading.Thread) -> None:
    """Give the thread time to block; that it did is then seen from its being alive."""
    thread.join(0.05)
    assert thread.is_alive()
    assert len(mailbox) == mailbox.capacity


def test_items_come_out_in_the_order_they_went_in_and_no_more_than_asked_for() -> None:
    mailbox = Mailbox[int](10)
    for number in range(5):
        mailbox.put(number)
    assert mailbox.take(3, 0.0) == [0, 1, 2]
    assert mailbox.take(3, 0.0) == [3, 4]
    assert mailbox.take(3, 0.0) == []
    assert mailbox.num_dropped == 0


def test_a_full_mailbox_drops_the_oldest_and_counts_it() -> None:
    mailbox = Mailbox[int](3)
    for number in range(10):
        mailbox.put(number)
    assert len(mailbox) == 3
    assert mailbox.take(10, 0.0) == [7, 8, 9]
    assert mailbox.num_dropped == 7


def test_put_with_wait_blocks_until_there_is_room_and_loses_nothing() -> None:
    mailbox = Mailbox[int](2)
    thread = start(lambda: [mailbox.put(number, wait=True) for number in range(100)])
    taken: list[int] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(taken) < 100 and time.monotonic() < deadline:
        taken += mailbox.take(7, 0.1)
        assert len(mailbox) <= 2
    thread.join(DEADLINE_S)
    assert taken == list(range(100))
    assert mailbox.num_dropped == 0


def test_close_wakes_a_put_that_waits_and_what_is_inside_can_still_be_taken() -> None:
    mailbox = Mailbox[int](1)
    mailbox.put(1)
    thread = start(lambda: mailbox.put(2, wait=True))
    until_waiting(mailbox, thread)
    mailbox.close()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert mailbox.closed
    assert mailbox.take(10, 0.0) == [1]
    assert mailbox.num_dropped == 1


def test_close_wakes_a_take_that_waits() -> None:
    mailbox = Mailbox[int](1)
    answers: list[list[int]] = []
    thread = start(lambda: answers.append(mailbox.take(1, 1000.0)))
    thread.join(0.05)
    assert thread.is_alive()
    mailbox.close()
    thread.join(DEADLINE_S)
    assert answers == [[]]


def test_take_returns_as_soon_as_something_comes() -> None:
    mailbox = Mailbox[int](1)
    answers: list[list[int]] = []
    thread = start(lambda: answers.append(mailbox.take(5, 1000.0)))
    mailbox.put(4)
    thread.join(DEADLINE_S)
    assert answers == [[4]]


def test_take_gives_up_after_its_timeout() -> None:
    before_s = time.monotonic()
    assert Mailbox[int](1).take(1, 0.05) == []
    assert time.monotonic() - before_s >= 0.04


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        Mailbox[int](0)
