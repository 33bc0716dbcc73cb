"""Packets are left to gather, none is lost, and stopping does not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mmstream.sources import bursts
from mmstream.types import Packet, StreamParameters


def make_packet(at_s: float, size_bytes: int) -> Packet:
    stream = StreamParameters(kind="video", codec="h264", time_base=(1, 90_000))
    return Packet(
        feed_id="cam", start_s=at_s, end_s=at_s, is_key=False, size_bytes=size_bytes, stream=stream, payload=None
    )


class Socket:
    """Packets that have come by a moment are there at once; for others the clock goes on."""

    def __init__(self, arrivals_s: list[float], size_bytes: int = 1000) -> None:
        self.now_s = 0.0
        self.num_waits = 0
        self._arrivals_s, self._size_bytes = arrivals_s, size_bytes

    def packets(self) -> Iterator[Packet]:
        for arrival_s in self._arrivals_s:
            if arrival_s > self.now_s:
                self.now_s = arrival_s
                self.num_waits += 1
            yield make_packet(arrival_s, self._size_bytes)

    def taken(self, pause: Pause | None = None) -> Iterator[float]:
        """When each packet arrived, as it is taken."""
        packets = bursts.in_bursts(self.packets(), pause or Pause(self), monotonic=lambda: self.now_s)
        return (packet.start_s for packet in packets)


class Pause(threading.Event):
    """An event whose waiting takes the socket's time, not ours."""

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def wait(self, timeout: float | None = None) -> bool:
        self._socket.now_s += timeout or 0.0
        return self.is_set()


def test_all_packets_come_in_order_and_the_thread_is_woken_a_few_times_a_second() -> None:
    arrivals = [n / 30 for n in range(300)]
    socket = Socket(arrivals)
    assert list(socket.taken()) == arrivals
    in_a_hurry = bursts.HURRY_S * 30
    assert socket.num_waits < in_a_hurry + 8 * 3


def test_a_camera_that_sends_much_is_read_before_its_buffer_is_full() -> None:
    a_second = 1_000_000
    socket = Socket([n / 30 for n in range(300)], size_bytes=a_second // 30)
    late_s = [socket.now_s - arrival_s for arrival_s in socket.taken()]
    assert 0.03 < max(late_s) < 2 * bursts.GATHER_BYTES / a_second


def test_the_first_seconds_are_not_delayed() -> None:
    socket = Socket([n / 30 for n in range(30)])
    assert max(socket.now_s - arrival_s for arrival_s in socket.taken()) == pytest.approx(0)


def test_stopping_ends_it_while_it_gathers() -> None:
    socket = Socket([n / 3 for n in range(300)])
    pause = Pause(socket)
    taken = []
    for arrival_s in socket.taken(pause):
        taken.append(arrival_s)
        if arrival_s > 4:
            pause.set()
    assert max(taken) < 4.5
