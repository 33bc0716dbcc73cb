"""When a packet happened, in Unix seconds: from the camera's own clock, from its arrival, or from its file.

A stream's ``pts`` is exact in rate and says nothing about the time of day. Each clock here finds
the offset between the two, and moves it so gently that time never runs backwards.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Literal, Protocol

ClockSource = Literal["sender report", "arrival", "file"]

WINDOW_S = 30.0
"""The least delayed packet of so long a time stands for the network's delay."""
PLAUSIBLE_SKEW_S = 0.5
"""A camera whose clock is further off than this has not been set: its time of day is not used."""
SLEW = 0.05
"""Corrections are spread: seconds per second of stream."""
STEP_S = 2.0
"""Corrections above this are made at once (the camera's clock was set, the stream had a gap)."""
DEFAULT_PERIOD_S = 1 / 15
SHORTEST_S = 0.001
_RECENT = 16


class StreamClock(Protocol):
    """Places the packets of one stream, in the order in which they came."""

    @property
    def source(self) -> ClockSource: ...

    @property
    def error_s(self) -> float | None:
        """How far off it may be, as far as that can be seen from here; None while nothing is known."""
        ...

    def place(
        self, pts_s: float, *, duration_s: float, arrived_s: float, sender_s: float | None
    ) -> tuple[float, float]:
        """``[start_s, end_s)`` of a packet; ``sender_s``: the camera's own time of it, where it said one."""
        ...

    def restart(self) -> None:
        """The next ``pts`` has nothing to do with those before; time goes on all the same."""
        ...


class FileClock:
    """Unix time of media second 0, plus ``pts``."""

    source: ClockSource = "file"
    error_s: float | None = 0.0

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self._last_end_s = -math.inf
        self._has_restarted = False

    def place(
        self, pts_s: float, *, duration_s: float, arrived_s: float, sender_s: float | None
    ) -> tuple[float, float]:
        del arrived_s, sender_s
        if self._has_restarted:
            self._epoch_s = max(self._epoch_s, self._last_end_s - pts_s)
            self._has_restarted = False
        start_s = self._epoch_s + pts_s
        self._last_end_s = max(self._last_end_s, start_s + duration_s)
        return start_s, start_s + duration_s

    def restart(self) -> None:
        self._has_restarted = True


class LiveClock:
    """The sender report where the camera sends a plausible one, else the arrival.

    Arrival: ``t = min over 30 s of (arrived - pts) + pts - period``; FFmpeg's parser hands a picture
    out when the next one begins, and a piece of sound is sent when it is complete, so both come one
    period late. The network's delay cannot be seen and stays in.

    ``skew_s`` is the camera's clock minus ours. Both offsets are kept, so a camera whose clock gets
    set, or goes astray, changes over at its next report.
    """

    def __init__(self) -> None:
        self._last_start_s = -math.inf
        self.restart()

    def restart(self) -> None:
        self._minima: deque[tuple[float, float]] = deque()
        """(arrived, delay), rising in both: the front is the least delay of the window."""
        self._delays: deque[float] = deque(maxlen=_RECENT)
        self._periods: deque[float] = deque(maxlen=_RECENT)
        self._sender_offsets: deque[float] = deque(maxlen=_RECENT)
        self._num_reports = 0
        self._last_pts_s: float | None = None
        self._offset_s: float | None = None
        self._newest_pts_s = -math.inf
        self.skew_s: float | None = None

    @property
    def source(self) -> ClockSource:
        is_plausible = self.skew_s is not None and abs(self.skew_s) < PLAUSIBLE_SKEW_S
        return "sender report" if is_plausible else "arrival"

    @property
    def error_s(self) -> float | None:
        if not self._minima:
            return None
        if self.source == "sender report":
            # A steady camera clock keeps its offset to the millisecond from report to report.
            return max(0.001, max(self._sender_offsets) - min(self._sender_offsets))
        return self.period_s + statistics.median(self._delays) - self._minima[0][1]

    @property
    def period_s(self) -> float:
        return statistics.median(self._periods) if self._periods else DEFAULT_PERIOD_S

    def place(
        self, pts_s: float, *, duration_s: float, arrived_s: float, sender_s: float | None
    ) -> tuple[float, float]:
        self._observe(pts_s, arrived_s)
        # One tick is what FFmpeg writes when it does not know (MJPEG over RTP).
        lasts_s = duration_s if duration_s > SHORTEST_S else self.period_s
        arrival_offset_s = self._minima[0][1] - lasts_s
        if sender_s is not None:
            self._observe_sender(sender_s - pts_s, arrival_offset_s)
        target_s = self._sender_offsets[-1] if self.source == "sender report" else arrival_offset_s
        start_s = pts_s + self._towards(target_s, pts_s)
        self._last_start_s = max(self._last_start_s, start_s)
        return start_s, start_s + lasts_s

    def _observe(self, pts_s: float, arrived_s: float) -> None:
        delay_s = arrived_s - pts_s
        if self._minima and delay_s < self._minima[0][1] - STEP_S:
            self.restart()  # seconds earlier than it could have been sent: its time stamps jumped ahead
        self._delays.append(delay_s)
        while self._minima and self._minima[-1][1] >= delay_s:
            self._minima.pop()
        self._minima.append((arrived_s, delay_s))
        while self._minima[0][0] < arrived_s - WINDOW_S:
            self._minima.popleft()
        if self._last_pts_s is not None and 0 < pts_s - self._last_pts_s < 1:
            self._periods.append(pts_s - self._last_pts_s)
        self._last_pts_s = pts_s

    def _observe_sender(self, sender_offset_s: float, arrival_offset_s: float) -> None:
        self._num_reports += 1
        if self._num_reports == 1:
            return  # the first one of a session belongs to the next picture
        self._sender_offsets.append(sender_offset_s)
        self.skew_s = sender_offset_s - arrival_offset_s

    def _towards(self, target_s: float, pts_s: float) -> float:
        """The offset to use now. Slower than the stream, so starts stay in the order of ``pts``."""
        if self._offset_s is None:
            self._offset_s, self._newest_pts_s = max(target_s, self._last_start_s - pts_s), pts_s
        gap_s = target_s - self._offset_s
        if gap_s > STEP_S:
            self._offset_s = target_s
        elif pts_s > self._newest_pts_s:
            allowed_s = SLEW * min(pts_s - self._newest_pts_s, 1.0)
            if gap_s < -STEP_S:
                # Back by a lot: stand almost still until the right time has caught up.
                allowed_s = 0.95 * min(pts_s - self._newest_pts_s, 1.0)
            self._offset_s += math.copysign(min(abs(gap_s), allowed_s), gap_s)
        self._newest_pts_s = max(self._newest_pts_s, pts_s)
        return self._offset_s
