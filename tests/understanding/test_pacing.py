"""A recording waits for what is asked about it, and for nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mmstream.understanding.pacing import LEAD_S, Pacing


def never() -> bool:
    return False


class Reader(threading.Thread):
    """Sends windows on their way as fast as it may."""

    def __init__(self, pacing: Pacing, times_s: list[float]) -> None:
        super().__init__(daemon=True)
        self.sent: list[float] = []
        self.stopped = False
        self._pacing, self._times_s = pacing, times_s

    def run(self) -> None:
        for at_s in self._times_s:
            self._pacing.wait_for_window(at_s, lambda: self.stopped)
            self.sent.append(at_s)
        self._pacing.wait_for_all(lambda: self.stopped)


def poll(ready: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < until_s, "waited 10 s in vain"
        time.sleep(0.005)


def test_it_runs_no_further_ahead_than_it_may_and_goes_on_as_windows_are_judged() -> None:
    pacing = Pacing()
    reader = Reader(pacing, [float(second) for second in range(50)])
    reader.start()
    poll(lambda: len(reader.sent) == LEAD_S + 1)
    pacing.judged()
    poll(lambda: len(reader.sent) == LEAD_S + 2)

    def judge_on() -> bool:
        pacing.judged()
        return not reader.is_alive()

    poll(judge_on)
    assert len(reader.sent) == 50


def test_it_stands_still_while_something_is_asked() -> None:
    pacing = Pacing()
    pacing.asked()
    pacing.asked()
    reader = Reader(pacing, [1.0])
    reader.start()
    pacing.answered()
    assert reader.sent == []
    pacing.answered()
    poll(lambda: reader.sent == [1.0])
    pacing.judged()
    poll(lambda: not reader.is_alive())


def test_a_pause_in_a_recording_does_not_hold_it_for_ever() -> None:
    pacing = Pacing()
    pacing.wait_for_window(0.0, never)
    pacing.judged()
    pacing.wait_for_window(3600.0, never)


def test_a_feed_that_is_stopped_waits_for_nothing() -> None:
    pacing = Pacing()
    pacing.asked()
    reader = Reader(pacing, [1.0])
    reader.start()
    reader.stopped = True
    poll(lambda: not reader.is_alive())
