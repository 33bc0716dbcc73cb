"""Packets are left to gather, none is lost, and stopping does not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mmstream.sources import bursts


class Socket:
    """Items that have come by a moment are there at once; for others the clock goes on."""

    def __init__(self, arrivals_s: list[float]) -> None:
        self.now_s = 0.0
        self.num_waits = 0
        self._arrivals_s = arrivals_s

    def items(self) -> Iterator[float]:
        for arrival_s in self._arrivals_s:
            if arrival_s > self.now_s:
                self.now_s = arrival_s
                self.num_waits += 1
            yield arrival_s


class Pause(threading.Event):
    """An event whose waiting takes the socket's time, not ours."""

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def wait(self, timeout: float | None = None) -> bool:
        self._socket.now_s += timeout or 0.0
        return self.is_set()


def test_all_items_come_in_order_and_the_thread_is_woken_a_few_times_a_second() -> None:
    arrivals = [n / 30 for n in range(300)]
    socket = Socket(arrivals)
    assert list(bursts.in_bursts(socket.items(), Pause(socket), monotonic=lambda: socket.now_s)) == arrivals
    in_a_hurry = bursts.HURRY_S * 30
    assert socket.num_waits < in_a_hurry + 8 * 6


def test_the_first_seconds_are_not_delayed() -> None:
    socket = Socket([n / 30 for n in range(30)])
    late = [
        socket.now_s - item for item in bursts.in_bursts(socket.items(), Pause(socket), monotonic=lambda: socket.now_s)
    ]
    assert max(late) == pytest.approx(0)


def test_stopping_ends_it_while_it_gathers() -> None:
    socket = Socket([n / 3 for n in range(300)])
    pause = Pause(socket)
    taken = []
    for item in bursts.in_bursts(socket.items(), pause, monotonic=lambda: socket.now_s):
        taken.append(item)
        if item > 4:
            pause.set()
    assert max(taken) < 4.5
