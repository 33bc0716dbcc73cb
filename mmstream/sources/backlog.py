"""What a live feed leaves out: all before the first key frame, and what is too old to matter."""

from __future__ import annotations

from mmstream.types import Packet

MAX_LAG_S = 2.0
PATIENCE_S = 12.0
"""Without any key frame for so long, the rest is passed on as it is (some cameras refresh by rows)."""


class Backlog:
    """Lets packets of a live feed through while they are fresh; once they are more than
    ``max_lag_s`` old (a cable was out, or the reader was too slow) drops to the newest key frame.

    ``is_behind``: what is being dropped now is dropped for its age, not for lack of a key frame.
    """

    def __init__(self, max_lag_s: float = MAX_LAG_S) -> None:
        self._max_lag_s = max_lag_s
        self._needs_key = True
        self._waits_since_s: float | None = None
        self.is_behind = False

    def lets_through(self, packet: Packet, arrived_s: float) -> bool:
        if arrived_s - packet.end_s > self._max_lag_s:
            self._needs_key = self.is_behind = True
            self._waits_since_s = arrived_s
        elif packet.kind != "video":
            return True
        elif packet.is_key or not self._needs_key or self._out_of_patience(arrived_s):
            self._needs_key = self.is_behind = False
            self._waits_since_s = None
            return True
        return False

    def _out_of_patience(self, arrived_s: float) -> bool:
        if self._waits_since_s is None:
            self._waits_since_s = arrived_s
        return arrived_s - self._waits_since_s > PATIENCE_S
