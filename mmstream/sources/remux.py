"""From undecoded packets to an MP4 that plays: the pictures as the camera sent them.

Nothing is encoded again, with one exception: sound that MP4 cannot hold (G.711 and other PCM, which
most cameras send) becomes AAC, because no browser plays it. Pictures that MP4 cannot hold are left out.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.codec import Codec

from mmstream.sources.packets import add_output_stream, packet_for_output
from mmstream.sources.sound import sound_of
from mmstream.sources.timed_decoder import from_key, newest_run
from mmstream.types import Packet

MP4_VIDEO = ("h264", "hevc", "mpeg4", "mjpeg", "av1", "vp9")
MP4_AUDIO = ("aac", "mp3", "opus", "ac3", "eac3")

_TICKS_PER_S = 90_000
_AAC_RATE_HZ = 16_000
_INDEX_BYTES_PER_PACKET = 64  # at worst 44: ISO/IEC 14496-12, stts, ctts, stss, stsc, stsz, co64
_INDEX_BYTES = 16_384


def remux(packets: Sequence[Packet], *, start_s: float) -> bytes | None:
    """-> an MP4 with its index in front, or None when there is nothing that can be shown or heard.

    Starts at the last video key frame at or before ``start_s`` (else at the first there is), or at
    ``start_s`` itself where there is only sound. Takes the packets of the newest connection only, for
    two connections may differ in codec and size. Times come from the packets' own clock, moved apart
    where that clock stood still or stepped back.
    """
    video = from_key(newest_run([p for p in packets if p.kind == "video" and _codec(p) in MP4_VIDEO]), start_s)
    zero_s = video[0].start_s if video else start_s
    audio = newest_run([p for p in packets if p.kind == "audio"])
    audio = [p for p in audio if p.start_s >= zero_s]
    if not video and not audio:
        return None
    if not video:
        zero_s = audio[0].start_s
    buffer = io.BytesIO()
    # The index is written into room kept for it in front: FFmpeg's own "faststart" needs a real file.
    room = _INDEX_BYTES + _INDEX_BYTES_PER_PACKET * (len(video) + len(audio))
    options = {"moov_size": str(room)}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        parts: list[tuple[float, Any]] = []
        if video:
            parts += _copied(container, video, zero_s)
        if audio and _codec(audio[0]) in MP4_AUDIO:
            parts += _copied(container, audio, zero_s)
        elif audio:
            parts += _encoded(container, audio, zero_s)
        if not parts:
            return None
        for _, part in sorted(parts, key=lambda item: item[0]):
            container.mux_one(part)
    return _playable_by_apple(buffer.getvalue()) if video and _codec(video[0]) == "hevc" else buffer.getvalue()


def _playable_by_apple(mp4: bytes) -> bytes:
    """Call H.265 ``hvc1`` instead of ``hev1``, which Safari and QuickTime refuse. The two differ in where
    parameter sets may stand, and the index has them all. PyAV cannot choose it for a stream it only copies."""
    index, mdat, pictures = mp4.partition(b"mdat")
    return index.replace(b"hev1", b"hvc1", 1) + mdat + pictures


def _copied(container: Any, packets: list[Packet], zero_s: float) -> list[tuple[float, Any]]:
    """-> (decoding time in seconds, packet to write) each."""
    stream = add_output_stream(container, dataclasses.replace(packets[0].stream, codec=_codec(packets[0])))
    time_base = Fraction(1, _TICKS_PER_S)
    stream.time_base = time_base
    copies: list[tuple[float, Any]] = []
    last_dts = -(2**62)
    for number, packet in enumerate(packets):
        copy = packet_for_output(packet, stream, is_first=number == 0)
        pts = round((packet.start_s - zero_s) * _TICKS_PER_S)
        dts = max(pts - round(_reorder_s(packet) * _TICKS_PER_S), last_dts + 1)
        copy.time_base = time_base
        copy.pts, copy.dts = max(pts, dts), dts
        copy.duration = max(0, round((packet.end_s - packet.start_s) * _TICKS_PER_S))
        last_dts = dts
        copies.append((dts / _TICKS_PER_S, copy))
    return copies


def _codec(packet: Packet) -> str:
    """The codec's own name: several decoders (``mp3float``, ``libdav1d``) read one codec."""
    return Codec(packet.stream.codec, "r").canonical_name


def _reorder_s(packet: Packet) -> float:
    """How much later than decoded the picture is shown (B pictures)."""
    payload = packet.payload
    if payload.pts is None or payload.dts is None:
        return 0.0
    numerator, denominator = packet.stream.time_base
    return float((payload.pts - payload.dts) * numerator / denominator)


def _encoded(container: Any, packets: list[Packet], zero_s: float) -> list[tuple[float, Any]]:
    samples, start_s = sound_of(packets, _AAC_RATE_HZ)
    if not len(samples):
        return []
    stream = container.add_stream("aac", rate=_AAC_RATE_HZ, layout="mono", bit_rate=48_000)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, :]), format="fltp", layout="mono")
    frame.sample_rate = _AAC_RATE_HZ
    frame.time_base = Fraction(1, _AAC_RATE_HZ)
    frame.pts = round((start_s - zero_s) * _AAC_RATE_HZ)
    encoded = [*stream.encode(frame), *stream.encode(None)]
    return [(float(packet.dts * packet.time_base), packet) for packet in encoded]
