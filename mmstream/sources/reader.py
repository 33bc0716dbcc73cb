"""Packets of one open container, placed on the site's clock."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import av
from av.container import InputContainer

from mmstream.errors import Damaged
from mmstream.sources.clock import StreamClock
from mmstream.sources.packets import picture_size
from mmstream.sources.tracks import Tracks
from mmstream.types import Packet, StreamParameters

MAX_DAMAGED_IN_A_ROW = 50
MAX_HELD = 16
"""Packets of one stream without a time stamp; the oldest are given up."""
LONG_STEP_BACK_S = 0.001
ASK_SENDER_EVERY_S = 0.25
"""How often the camera's own time is read: FFmpeg derives it for every packet from reports seconds apart."""
SMALLEST_KEY_BYTES = 4
"""AVI files pad with one-byte packets and call them key frames."""

_UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg"})
"""Their time stamps are FFmpeg's invention (25 a second): arrival is all there is."""


class PacketReader:
    """Iterate once. Damaged packets are skipped and counted in ``counters["damaged_packets"]``.

    ``make_clock`` makes one clock per stream; ``next_epoch`` numbers a stream anew when its time
    stamps go back, so that no decoder sees both sides of the break. ``shift_s`` is added to every
    time stamp (the rounds of a loop).
    """

    def __init__(
        self,
        container: InputContainer,
        tracks: Tracks,
        *,
        feed_id: str,
        make_clock: Callable[[], StreamClock],
        next_epoch: Callable[[], int],
        counters: dict[str, float],
        now: Callable[[], float] = time.time,
        shift_s: float = 0.0,
    ) -> None:
        self._container = container
        self._tracks = tracks
        self._feed_id = feed_id
        self._next_epoch = next_epoch
        self._counters = counters
        self._now = now
        self._shift_s = shift_s
        self._is_untimed = container.format.name in _UNTIMED_FORMATS
        self._parameters = dict(tracks.parameters)
        self._held: dict[int, deque[av.Packet[Any]]] = {}
        self._last_dts: dict[int, int] = {}
        self._asked_sender_s: dict[int, float] = {}
        self.clocks = {index: make_clock() for index in tracks.parameters}

    @property
    def main_clock(self) -> StreamClock:
        """The picture's, where there is a picture."""
        by_kind = {self._parameters[index].kind: clock for index, clock in self.clocks.items()}
        return by_kind.get("video") or by_kind.get("audio") or next(iter(by_kind.values()))

    def __iter__(self) -> Iterator[Packet]:
        for payload in self._whole():
            arrived_s = self._now()
            for timed in self._timed(payload, arrived_s):
                yield self._placed(timed, arrived_s)

    def _whole(self) -> Iterator[av.Packet[Any]]:
        """Packets that hold something. Raises Damaged after too many damaged ones in a row."""
        num_in_a_row = 0
        while True:
            demuxed: Any = self._container.demux(list(self._tracks.streams))
            with contextlib.closing(demuxed) as packets:
                try:
                    for packet in packets:
                        if packet.is_corrupt:
                            self._counters["damaged_packets"] += 1
                        elif packet.size:
                            num_in_a_row = 0
                            yield packet
                    return
                except av.error.InvalidDataError:
                    self._counters["damaged_packets"] += 1
                    num_in_a_row += 1
            if num_in_a_row > MAX_DAMAGED_IN_A_ROW:
                raise Damaged(f"{num_in_a_row} damaged packets in a row; check the cable, or record the file again")

    def _timed(self, payload: av.Packet[Any], arrived_s: float) -> list[av.Packet[Any]]:
        """The packet and those held before it: over RTSP the first of a stream have no time stamp."""
        index = payload.stream_index
        tick_s = self._tick_s(index)
        if self._is_untimed:
            payload.pts = payload.dts = round(arrived_s / tick_s)
        if payload.pts is None:
            payload.pts = payload.dts
        held = self._held.setdefault(index, deque())
        if payload.pts is None:
            if len(held) == MAX_HELD:
                held.popleft()
                self._counters["damaged_packets"] += 1
            held.append(payload)
            return []
        if payload.dts is None:
            payload.dts = payload.pts
        at = payload.dts
        for earlier in reversed(held):
            at -= earlier.duration or max(1, round(0.04 / tick_s))
            earlier.pts = earlier.dts = at
        timed = [*held, payload]
        held.clear()
        if self._shift_s:
            for packet in timed:
                packet.pts = (packet.pts or 0) + round(self._shift_s / tick_s)
                packet.dts = (packet.dts or 0) + round(self._shift_s / tick_s)
        return timed

    def _placed(self, payload: av.Packet[Any], arrived_s: float) -> Packet:
        index, tick_s = payload.stream_index, self._tick_s(payload.stream_index)
        assert payload.pts is not None
        assert payload.dts is not None
        if (self._last_dts.get(index, payload.dts) - payload.dts) * tick_s > LONG_STEP_BACK_S:
            self._parameters[index] = dataclasses.replace(self._parameters[index], epoch=self._next_epoch())
            self.clocks[index].restart()
        self._last_dts[index] = payload.dts
        start_s, end_s = self.clocks[index].place(
            payload.pts * tick_s,
            duration_s=(payload.duration or 0) * tick_s,
            arrived_s=arrived_s,
            sender_s=self._sender_s(index, payload, arrived_s),
        )
        return Packet(
            feed_id=self._feed_id,
            start_s=start_s,
            end_s=end_s,
            is_key=payload.is_keyframe and payload.size >= SMALLEST_KEY_BYTES,
            size_bytes=payload.size,
            stream=self._with_size(index, payload),
            payload=payload,
        )

    def _with_size(self, index: int, payload: av.Packet[Any]) -> StreamParameters:
        """The stream's parameters; a quick open leaves the picture's size open, the first key frame tells it."""
        parameters = self._parameters[index]
        if parameters.kind == "video" and not parameters.width_px and payload.is_keyframe:
            width_px, height_px = picture_size(parameters, payload)
            parameters = dataclasses.replace(parameters, width_px=width_px, height_px=height_px)
            self._parameters[index] = parameters
        return parameters

    def _tick_s(self, index: int) -> float:
        numerator, denominator = self._parameters[index].time_base
        return numerator / denominator

    def _sender_s(self, index: int, payload: av.Packet[Any], arrived_s: float) -> float | None:
        """The camera's own time of this packet, where it says one; not asked for every packet."""
        if 0 <= arrived_s - self._asked_sender_s.get(index, -math.inf) < ASK_SENDER_EVERY_S:
            return None
        self._asked_sender_s[index] = arrived_s
        return _sender_s(payload)


def _sender_s(payload: av.Packet[Any]) -> float | None:
    """The camera's time of this packet: FFmpeg's ``AVProducerReferenceTime.wallclock``, from RTCP."""
    if not payload.has_sidedata("prft"):
        return None
    return int.from_bytes(bytes(payload.get_sidedata("prft"))[:8], "little", signed=True) / 1e6
