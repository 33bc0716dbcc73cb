"""What an alert shows: the last minutes of a feed, undecoded, and the clip and pictures cut from them."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from mmstream.sources.pictures import jpeg_near
from mmstream.sources.remux import remux
from mmstream.sources.sound import sound_of
from mmstream.spectrogram import spectrogram_png
from mmstream.thumbnail import framed
from mmstream.types import EvidenceRequest, Packet

SPECTROGRAM_RATE_HZ = 16_000

_AUDIO_GROUP_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The evidence of one alert; what could not be made is None."""

    mp4: bytes | None
    thumbnail_jpeg: bytes | None
    spectrogram_png: bytes | None
    start_s: float
    """Of the first packet in the clip: a key frame, so at or before what was asked for."""
    end_s: float


@dataclass(slots=True)
class _Group:
    """A key frame and everything up to the next one: dropped together, for a part cannot be decoded."""

    start_s: float
    has_key: bool
    packets: list[Packet] = field(default_factory=list)
    num_bytes: int = 0


class PacketRing:
    """The newest packets of one feed, at most ``max_bytes`` and about ``max_s``.

    Whole groups of pictures go, oldest first, counted in ``num_dropped``. A camera that sends no key
    frame for longer than the ring can hold loses that whole group: the pictures that follow are not
    kept until its next key frame. One thread pushes, any thread cuts.
    """

    def __init__(self, *, max_bytes: int, max_s: float) -> None:
        if max_bytes <= 0 or max_s <= 0:
            raise ValueError(f"want max_bytes and max_s above 0, got {max_bytes = }, {max_s = }")
        self._max_bytes, self._max_s = max_bytes, max_s
        self._lock = threading.Lock()
        self._groups: deque[_Group] = deque()
        self._has_video = False
        self._num_bytes = 0
        self._newest_s = float("-inf")
        self.num_dropped = 0

    @property
    def newest_s(self) -> float:
        """Up to where there are packets; -inf when there were none."""
        return self._newest_s

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def push(self, packet: Packet) -> None:
        with self._lock:
            self._has_video = self._has_video or packet.kind == "video"
            if self._starts_group(packet):
                self._groups.append(_Group(start_s=packet.start_s, has_key=packet.kind == "video" and packet.is_key))
            group = self._groups[-1]
            self._newest_s = max(packet.end_s, packet.start_s)
            if packet.kind == "video" and not group.has_key:
                self.num_dropped += 1  # nothing before it that it could be decoded from
                return
            group.packets.append(packet)
            group.num_bytes += packet.size_bytes
            self._num_bytes += packet.size_bytes
            self._drop_oldest()

    def packets_between(self, start_s: float, end_s: float) -> list[Packet]:
        """What is there of ``[start_s, end_s)``, in the order it came, from the key frame at or before
        ``start_s`` on (else from the oldest there is)."""
        with self._lock:
            groups = list(self._groups)
            packets_of = [list(group.packets) for group in groups]
        first = max((number for number, group in enumerate(groups) if group.start_s <= start_s), default=0)
        packets = [packet for packets in packets_of[first:] for packet in packets]
        # Cut behind the last one inside, not by time: a later P picture may be needed by a B picture.
        last = max((number for number, packet in enumerate(packets) if packet.start_s < end_s), default=-1)
        return packets[: last + 1]

    def _starts_group(self, packet: Packet) -> bool:
        if not self._groups or (packet.kind == "video" and packet.is_key):
            return True
        group = self._groups[-1]
        return not self._has_video and packet.start_s - group.start_s >= _AUDIO_GROUP_S

    def _drop_oldest(self) -> None:
        while self._num_bytes > self._max_bytes or (
            len(self._groups) > 1 and self._newest_s - self._groups[1].start_s >= self._max_s
        ):
            group = self._groups.popleft()
            self._num_bytes -= group.num_bytes
            self.num_dropped += len(group.packets)
            if not self._groups:
                self._groups.append(_Group(start_s=self._newest_s, has_key=False))
                return


def cut_evidence(ring: PacketRing, request: EvidenceRequest) -> Clip | None:
    """The clip, the picture nearest to the peak and, if asked for, the sound as a picture.

    None when the ring has nothing of that time. Costs about one group of pictures of decoding; the
    clip itself is copied, not encoded.
    """
    packets = ring.packets_between(request.start_s, request.end_s)
    if not packets:
        return None
    return Clip(
        mp4=remux(packets, start_s=request.start_s),
        thumbnail_jpeg=_thumbnail(packets, request),
        spectrogram_png=_spectrogram(packets, request) if request.spectrogram else None,
        start_s=min(packet.start_s for packet in packets),
        end_s=max(packet.end_s for packet in packets),
    )


def _thumbnail(packets: list[Packet], request: EvidenceRequest) -> bytes | None:
    jpeg = jpeg_near(packets, request.peak_s)
    return framed(jpeg, request.region) if jpeg is not None and request.region is not None else jpeg


def _spectrogram(packets: list[Packet], request: EvidenceRequest) -> bytes | None:
    samples, start_s = sound_of(packets, SPECTROGRAM_RATE_HZ)
    first = max(0, round((request.start_s - start_s) * SPECTROGRAM_RATE_HZ))
    mark_s = request.peak_s - start_s - first / SPECTROGRAM_RATE_HZ
    return spectrogram_png(samples[first:], SPECTROGRAM_RATE_HZ, mark_s=mark_s, band_hz=request.band_hz)
