"""Whether everything that a feed should send still comes, and what to say and report when it does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from mmstream.types import Condition, ConnectionState

ABSENT_AFTER_S = 5.0
ABSENCE_EVERY_S = 2.0
"""A camera that has sent nothing for so long is told of so often, for no window does."""
SILENT_AFTER_S = 5.0
"""A kind of media that has stopped for so long is reported, the rest goes on."""
RECENT_S = 15.0
_NAMES = {"video": "picture", "audio": "sound"}


class Presence:
    """When each kind of media of one feed last came. One thread tells, others ask."""

    def __init__(self, feed_id: str, now: Callable[[], float]) -> None:
        self._feed_id = feed_id
        self._now = now
        self._damaged: deque[tuple[float, float]] = deque(maxlen=60)
        self._told_s = float("-inf")
        self.start()

    def start(self) -> None:
        """Nothing has come yet, and somebody waits for it from now on."""
        self._since_s = self._now()
        self._last_at: dict[str, float] = {}
        self._decoded: tuple[float, float] = (0.0, self._since_s)

    def came(self, kind: str) -> None:
        self._last_at[kind] = self._now()

    def absence(self, state: ConnectionState) -> list[Condition]:
        """A live camera that sends nothing, or no picture, makes no window that could tell."""
        now_s = self._now()
        if now_s - self._told_s < ABSENCE_EVERY_S:
            return []
        last_at = dict(self._last_at)
        silent_s = now_s - max(self._since_s, *last_at.values()) if last_at else now_s - self._since_s
        no_picture_s = now_s - last_at["video"] if "video" in last_at and silent_s < ABSENT_AFTER_S else 0.0
        if max(silent_s, no_picture_s) < ABSENT_AFTER_S:
            return []
        start_s, self._told_s = max(self._told_s, now_s - ABSENCE_EVERY_S), now_s
        return [
            Condition(
                feed_id=self._feed_id,
                start_s=start_s,
                end_s=now_s,
                state=state,
                silent_s=silent_s if silent_s >= ABSENT_AFTER_S else 0.0,
                no_picture_s=no_picture_s,
            )
        ]

    def trouble(self, counters: Mapping[str, float]) -> str:
        """What is wrong with a connected camera, in a sentence; empty when nothing is."""
        now_s = self._now()
        damaged = counters.get("damaged_packets", 0.0) + counters.get("frames_corrupt", 0.0)
        self._damaged.append((now_s, damaged))
        recent = damaged - next((count for at_s, count in self._damaged if at_s > now_s - RECENT_S), damaged)
        silent = [
            f"the {_NAMES[kind]} stopped {now_s - at_s:.0f} s ago"
            for kind, at_s in dict(self._last_at).items()
            if kind in _NAMES and now_s - at_s > SILENT_AFTER_S
        ]
        if silent:
            return f"{self._feed_id}: connected, but {' and '.join(silent)}."
        if self._waits_for_key(now_s, counters.get("frames_decoded", 0.0)):
            return f"{self._feed_id}: connected, but waiting for a key frame; set the camera's to come every 1-2 s."
        if recent > 0:
            return f"{self._feed_id}: live, but {recent:.0f} damaged pictures or packets in the last 15 seconds."
        return ""

    def _waits_for_key(self, now_s: float, num_decoded: float) -> bool:
        """Pictures come and none can be decoded: whoever joins a long group of pictures sees nothing yet."""
        if num_decoded != self._decoded[0] or "video" not in self._last_at:
            self._decoded = (num_decoded, now_s)
        return now_s - self._decoded[1] > SILENT_AFTER_S
