"""Fewer, fuller awakenings: a camera's packets are taken several at a time.

A thread that is woken for every packet (thirty a second with sound) finds cold caches each time. Left alone for
a moment, the kernel gathers what comes, and reading costs less than a bare loop that takes each packet as it comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from mmstream.types import Packet

GATHER_S = 0.4
"""How long to leave the socket alone once it is empty; adds half of that to the delay of an alert."""
GATHER_BYTES = 64_000
"""Less long where more would come: cameras do not wait for a receive buffer that is full."""
HURRY_S = 2.0
"""Not at first: the first picture is waited for by somebody."""
WAITED_S = 0.004
"""An item that took so long to come was not there yet: the socket has been emptied."""


def in_bursts(
    packets: Iterator[Packet], stopping: threading.Event, *, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[Packet]:
    """The same packets in the same order; for streams with flow control (TCP), where none is lost meanwhile."""
    began_s = burst_s = monotonic()
    num_bytes = 0
    while True:
        asked_s = monotonic()
        try:
            packet = next(packets)
        except StopIteration:
            return
        came_s = monotonic()
        num_bytes += packet.size_bytes
        yield packet
        if came_s - asked_s > WAITED_S and came_s - began_s > HURRY_S:
            pause_s = min(GATHER_S, GATHER_BYTES * (came_s - burst_s) / max(1, num_bytes))
            burst_s, num_bytes = came_s, 0
            if stopping.wait(pause_s):
                return
