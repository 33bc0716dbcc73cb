"""What a feed that wakes up is shown first: its packets of the last group or two of pictures."""

from __future__ import annotations

from mmstream.types import Packet


class GopRing:
    """The packets since the sampled key before last: where a replay begins."""

    def __init__(self, max_s: float, max_bytes: int) -> None:
        self._max_s, self._max_bytes = max_s, max_bytes
        self.clear()

    def clear(self) -> None:
        self._previous: list[Packet] = []
        self._current: list[Packet] = []
        self._previous_bytes = self._current_bytes = 0

    def forget_previous(self) -> None:
        self._previous, self._previous_bytes = [], 0

    @property
    def start_s(self) -> float | None:
        oldest = self._previous or self._current
        return oldest[0].start_s if oldest else None

    def packets(self) -> list[Packet]:
        return self._previous + self._current

    def append(self, packet: Packet, begins_group: bool) -> bool:
        """False: the ring was full, and lost its older group, or both until the next key."""
        if begins_group:
            self._previous, self._previous_bytes = self._current, self._current_bytes
            self._current, self._current_bytes = [], 0
        elif not self._current:
            return True
        self._current.append(packet)
        self._current_bytes += packet.size_bytes
        if self._fits(packet, self._previous, self._previous_bytes):
            return True
        self.forget_previous()
        if not self._fits(packet, self._current, 0):
            self.clear()
        return False

    def _fits(self, packet: Packet, oldest: list[Packet], other_bytes: int) -> bool:
        if self._current_bytes + other_bytes > self._max_bytes:
            return False
        return not oldest or packet.start_s - oldest[0].start_s <= self._max_s
