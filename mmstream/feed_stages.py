"""The plain stages of one feed, from its packets to its windows: gate, decoder, windower."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from mmstream.config import GateSection
from mmstream.gate import Gate
from mmstream.sources.decode import Decoder
from mmstream.types import Frame, Packet, PictureSpec, Reading, TextSpan, Window
from mmstream.windowing import Windower

ADVANCE_EVERY_S = 0.25
MAX_PACKETS = 2048
"""Pictures whose sizes are remembered until their windows close, at most: half a minute at 60 a second."""


class FeedStages:
    """`Packet`s, words and readings of one feed -> `Window`s. Knows neither thread nor clock.

    What is written beside it in files (captions, readings) is let in when the feed has come to its
    time. With ``gated`` False everything is decoded; ``live`` says whether damage is waited out or ends the reading.
    """

    def __init__(
        self,
        feed_id: str,
        *,
        gate: GateSection,
        gated: bool,
        live: bool,
        pictures: Mapping[str, PictureSpec],
    ) -> None:
        self._beside: deque[TextSpan | Reading] = deque()
        self.gate = Gate(
            enabled=gated,
            analysed_fps=gate.analysed_fps,
            hold_s=gate.hold_s,
            learn_s=gate.learn_s,
            key_threshold=gate.key_threshold,
            packet_threshold=gate.packet_threshold,
        )
        self.decoder = Decoder(feed_id, analysed_fps=gate.analysed_fps, pictures=pictures, live=live)
        self.windower = Windower(feed_id)
        self._sizes: deque[tuple[float, int, bool]] = deque(maxlen=MAX_PACKETS)
        self._advanced_s: dict[Literal["video", "audio"], float] = {"video": -math.inf, "audio": -math.inf}

    def counters(self) -> Sequence[Mapping[str, float]]:
        return self.gate.counters, self.decoder.counters, self.windower.counters

    def accompany(self, items: Iterable[TextSpan | Reading]) -> None:
        """What goes with the packets from here on, in order of time."""
        self._beside = deque(items)

    def push(self, item: Packet | TextSpan | Reading) -> list[Window]:
        """Raises `errors.Damaged` for a recording that cannot be decoded any further."""
        if not isinstance(item, Packet):
            return self._with_sizes(self.windower.push(item))
        if item.kind == "video":
            self._sizes.append((item.start_s, item.size_bytes, item.is_key))
        windows: list[Window] = []
        while self._beside and self._beside[0].start_s <= item.start_s:
            windows += self.windower.push(self._beside.popleft())
        for packet in self.gate.push(item):
            windows += self._decode(packet)
        if item.kind == "video":
            # Asleep, windows stay open as far back as a replay of the gate's ring could still reach.
            windows += self._advance("video", item.start_s if self.gate.awake else self.gate.replay_from_s)
        elif item.kind == "audio":
            windows += self._advance("audio", item.start_s)
        return self._with_sizes(windows)

    def advance(self, until_s: float) -> list[Window]:
        """A feed of words and readings only has come this far, though nothing was said."""
        return self.windower.advance("text", until_s)

    def flush(self) -> list[Window]:
        windows: list[Window] = []
        for decoded in self.decoder.flush():
            windows += self.windower.push(decoded)
        return self._with_sizes(windows + self.windower.flush())

    def _with_sizes(self, windows: list[Window]) -> list[Window]:
        """The windows with the sizes of the pictures that came in them; those before the newest are forgotten."""
        sized = [
            dataclasses.replace(w, packets=tuple(size for size in self._sizes if w.start_s <= size[0] < w.end_s))
            for w in windows
        ]
        while windows and self._sizes and self._sizes[0][0] < windows[-1].start_s:
            self._sizes.popleft()
        return sized

    def _advance(self, kind: Literal["video", "audio"], until_s: float) -> list[Window]:
        """Tell the windower, but not for every packet: most say nothing that matters at its grid of seconds."""
        if 0 <= until_s - self._advanced_s[kind] < ADVANCE_EVERY_S:
            return []
        self._advanced_s[kind] = until_s
        return self.windower.advance(kind, until_s)

    def _decode(self, packet: Packet) -> list[Window]:
        windows: list[Window] = []
        for decoded in self.decoder.push(packet, glance=not self.gate.awake):
            # A key frame that wakes the gate comes after what led up to it: pushed first, it would
            # close the very windows that the replay belongs to.
            for replayed in self.gate.observe(decoded) if isinstance(decoded, Frame) else ():
                windows += self._decode(replayed)
            windows += self.windower.push(decoded)
        return windows
