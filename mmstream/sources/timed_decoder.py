"""One codec context whose pictures and sounds keep the times of the packets that they came from."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import av

from mmstream.sources.packets import make_decoder
from mmstream.types import Packet, StreamParameters

MAX_HELD_BACK = 64
"""Packets whose pictures are still to come: a decoder holds back 16 at most (H.264, A.3.1)."""

MAX_SWAPPED_S = 0.5
"""Pictures leave in the order they are shown, whatever their time stamps say: AVI files with packed
B pictures have them swapped. A larger step back is a step of the feed's clock."""

_TICK_S = 0.001
_EMPTY_BYTES = 16  # AVI marks its place holders of a byte or two as key frames

Timed = tuple[Any, float, float]
"""(``av.VideoFrame`` or ``av.AudioFrame``, start_s, end_s)."""


class TimedDecoder:
    """Decodes the packets of one stream, with a context of its own, in the order they were sent.

    A picture leaves a decoder later than its packet came, and in another order (B pictures), so the
    packet's times are kept until the picture with the same time stamp appears.

    Raises:
        UnsupportedCodec: this FFmpeg has no decoder for it.
    """

    def __init__(self, parameters: StreamParameters, options: dict[str, str] | None = None) -> None:
        self.parameters = parameters
        self._context: Any = make_decoder(parameters)
        if options:
            self._context.options = options
        self._times: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._last = (0.0, 0.0)
        self._shown_s = float("-inf")

    def push(self, packet: Packet) -> list[Timed]:
        """Raises ``av.error.FFmpegError`` when the packet cannot be decoded; the next one may well be."""
        self._last = (packet.start_s, packet.end_s)
        payload = packet.payload
        stamp = payload.pts if payload.pts is not None else payload.dts
        if stamp is not None:
            self._times[stamp] = self._last
            if len(self._times) > MAX_HELD_BACK:
                self._times.popitem(last=False)
        return [self._timed(frame) for frame in self._context.decode(payload)]

    def push_text(self, packet: Packet) -> list[bytes]:
        """The ASS events of a caption packet. Raises ``av.error.FFmpegError`` like `push`."""
        return [rect.ass for rect in self._context.decode(packet.payload) if hasattr(rect, "ass")]

    def flush(self) -> list[Timed]:
        """What was held back. Afterwards the decoder takes nothing more."""
        if not self._context.is_open:
            return []
        try:
            return [self._timed(frame) for frame in self._context.decode(None)]
        except av.error.FFmpegError:
            return []  # the stream broke off inside a picture

    def _timed(self, frame: Any) -> Timed:
        start_s, end_s = self._last  # RTSP gives its first packets no time stamp, and has no B pictures
        for stamp in (frame.pts, frame.dts):
            if stamp is not None and stamp in self._times:
                start_s, end_s = self._times.pop(stamp)
                break
        if 0 <= self._shown_s - start_s < MAX_SWAPPED_S:
            start_s = self._shown_s + _TICK_S
        self._shown_s = start_s
        return frame, start_s, max(start_s, end_s)


def newest_run(packets: list[Packet]) -> list[Packet]:
    """The packets of the newest connection, from a list of one kind in the order they came.

    >>> newest_run([])
    []
    """
    first = len(packets)
    while first and packets[first - 1].stream.epoch == packets[-1].stream.epoch:
        first -= 1
    return packets[first:]


def from_key(video: list[Packet], at_s: float) -> list[Packet]:
    """What must be decoded to see ``at_s``: from the last key frame at or before it, else from the
    first key frame; nothing when there is none."""
    keys = [number for number, packet in enumerate(video) if packet.is_key and packet.size_bytes > _EMPTY_BYTES]
    if not keys:
        return []
    return video[max((number for number in keys if video[number].start_s <= at_s), default=keys[0]) :]
