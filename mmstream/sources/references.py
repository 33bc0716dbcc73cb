"""Which pictures a picture's motion vectors point to: what FFmpeg exports says only "past" or "future"."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mmstream.types import Packet

MAX_KNOWN = 32
"""Twice what a decoder may hold (H.264, A.3.1)."""
_SAME_S = 1e-4
_HEADER_BYTES = 1024
"""Delimiter and messages that come before the first slice are shorter."""
_H264_SLICES = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class _Coded:
    start_s: float
    is_reference: bool


class References:
    """Told every packet that goes into a decoder, in that order; asked about the pictures that come out.

    A vector points to the nearest picture, in the order of showing, that was decoded before and kept for reference
    (the first entry of the default lists, H.264, 8.2.4.2). Encoders that search further back and find more there
    make their vectors look faster than they are.
    """

    def __init__(self) -> None:
        self._coded: deque[_Coded] = deque(maxlen=MAX_KNOWN)

    def note(self, packet: Packet) -> None:
        self._coded.append(_Coded(packet.start_s, is_reference(packet)))

    def distances_s(self, start_s: float) -> tuple[float | None, float | None]:
        """-> (seconds back to the past reference, seconds ahead to the future one); None where there is none."""
        past_s: float | None = None
        future_s: float | None = None
        for coded in self._coded:
            away_s = coded.start_s - start_s
            if abs(away_s) < _SAME_S:
                return past_s, future_s
            if not coded.is_reference:
                continue
            if away_s < 0:
                past_s = -away_s if past_s is None else min(past_s, -away_s)
            else:
                future_s = away_s if future_s is None else min(future_s, away_s)
        return None, None


def is_reference(packet: Packet) -> bool:
    """Whether later pictures may be built on this one: ``nal_ref_idc`` of H.264 (7.4.1), and in MPEG-4 part 2 all but
    the B pictures (6.2.5). True for other codecs, which export no vectors."""
    if packet.is_key or packet.stream.codec not in ("h264", "mpeg4"):
        return True
    head = bytes(memoryview(packet.payload)[:_HEADER_BYTES])
    if packet.stream.codec == "mpeg4":
        at = head.find(b"\x00\x00\x01\xb6")
        return at < 0 or at + 4 >= len(head) or head[at + 4] >> 6 != 2
    extradata = packet.stream.extradata
    starts = _unit_starts(head, (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0)
    slices = [head[at] for at in starts if head[at] & 31 in _H264_SLICES]
    return not slices or slices[0] >> 5 & 3 != 0


def _unit_starts(head: bytes, length_size: int) -> list[int]:
    """Where the first bytes of the units are: after lengths of ``length_size`` bytes, or (0) after start codes."""
    starts: list[int] = []
    at = 0
    if length_size:
        while at + length_size < len(head):
            starts.append(at + length_size)
            at += length_size + int.from_bytes(head[at : at + length_size], "big")
        return starts
    while (at := head.find(b"\x00\x00\x01", at)) >= 0 and at + 3 < len(head):
        at += 3
        starts.append(at)
    return starts
