"""Look at a feed once: what it sends, how fast, by which clock, and one picture of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from mmstream.config import FeedConfig
from mmstream.sources.media import MediaSource
from mmstream.sources.packets import make_decoder
from mmstream.types import Packet, Status, StreamParameters, UInt8

PROBE_S = 3.0
"""Long enough for a frame rate and, with most cameras, for the first sender report."""
_MIN_PACKETS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeReport:
    """``video``, ``audio``, ``clock`` and ``first_frame_s``, or ``error``; plain values, see `to_json`."""

    video: Mapping[str, Any] | None = None
    audio: Mapping[str, Any] | None = None
    clock: Mapping[str, Any] | None = None
    first_frame_s: float | None = None
    """Seconds from opening to the first picture that can be decoded (or the first sound, without pictures)."""
    error: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    """Sentences on what works only in part."""
    first_picture: UInt8 | None = None
    """RGB (H, W, 3)."""

    def to_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"error": dict(self.error)}
        return {
            "video": dict(self.video) if self.video else None,
            "audio": dict(self.audio) if self.audio else None,
            "clock": dict(self.clock) if self.clock else None,
            "first_frame_s": self.first_frame_s,
            "notes": list(self.notes),
        }


@dataclass(kw_only=True)
class _Seen:
    """What has come of one stream."""

    stream: StreamParameters
    starts_s: list[float] = field(default_factory=list)
    keys_s: list[float] = field(default_factory=list)
    num_bytes: int = 0


def probe(
    feed: FeedConfig,
    *,
    timeout_s: float = 10.0,
    seconds: float = PROBE_S,
    environment: Mapping[str, str] = os.environ,
) -> ProbeReport:
    """Open ``feed``, read ``seconds`` of it, and report; never raises for what is wrong with the feed.

    Takes at most about ``2 * timeout_s + seconds``.
    """
    timeouts = {name: min(getattr(feed, name), timeout_s) for name in ("open_timeout_s", "read_timeout_s")}
    source = MediaSource(feed.model_copy(update={**timeouts, "loop": False}), environment=environment)
    seen: dict[str, _Seen] = {}
    notes: list[str] = []
    first_frame_s: float | None = None
    picture: UInt8 | None = None
    began_s = time.monotonic()
    for item in source:
        if isinstance(item, Status):
            if item.state == "failed" or (item.state == "retrying" and not seen):
                source.stop()
                return ProbeReport(error={"code": item.code, "message": item.sentence})
            if item.code and item.state == "live":
                notes.append(item.sentence)
        elif isinstance(item, Packet):
            _note(seen, item)
            if picture is None and item.kind == "video" and item.is_key:
                picture = _decode(item)
            if first_frame_s is None and (picture is not None or "video" not in seen):
                first_frame_s = round(time.monotonic() - began_s, 3)
        if _is_enough(seen, seconds) or time.monotonic() - began_s > timeout_s + seconds:
            source.stop()
    if not seen:
        return ProbeReport(error={"code": "timeout", "message": f"{feed.id}: nothing came in {timeout_s:.0f} s."})
    return ProbeReport(
        video=_video(seen["video"]) if "video" in seen else None,
        audio=_audio(seen["audio"].stream) if "audio" in seen else None,
        clock={
            "source": source.clock,
            "error_s": source.clock_error_s,
            "skew_s": source.clock_skew_s,
        },
        first_frame_s=first_frame_s,
        notes=tuple(notes),
        first_picture=picture,
    )


def _note(seen: dict[str, _Seen], packet: Packet) -> None:
    entry = seen.setdefault(packet.kind, _Seen(stream=packet.stream))
    entry.stream = packet.stream
    entry.starts_s.append(packet.start_s)
    entry.num_bytes += packet.size_bytes
    if packet.is_key:
        entry.keys_s.append(packet.start_s)


def _is_enough(seen: Mapping[str, _Seen], seconds: float) -> bool:
    """So many seconds of every kind that has come."""
    media = [entry for kind, entry in seen.items() if kind != "text"]
    return bool(media) and all(
        len(entry.starts_s) >= _MIN_PACKETS and max(entry.starts_s) - min(entry.starts_s) >= seconds for entry in media
    )


def _video(entry: _Seen) -> dict[str, Any]:
    span_s = max(entry.starts_s) - min(entry.starts_s)
    key_gaps_s = [b - a for a, b in zip(entry.keys_s, entry.keys_s[1:], strict=False)]
    return {
        "codec": entry.stream.codec,
        "width": entry.stream.width_px,
        "height": entry.stream.height_px,
        "fps": round((len(entry.starts_s) - 1) / span_s, 2) if span_s > 0 else None,
        "kbit_per_s": round(entry.num_bytes * 8 / 1000 / span_s) if span_s > 0 else None,
        "key_frame_every_s": round(sum(key_gaps_s) / len(key_gaps_s), 2) if key_gaps_s else None,
    }


def _audio(stream: StreamParameters) -> dict[str, Any]:
    return {"codec": stream.codec, "sample_rate_hz": stream.sample_rate_hz, "channels": stream.channels}


def _decode(packet: Packet) -> UInt8 | None:
    """The picture of a key frame, or None when it cannot be decoded."""
    decoder = make_decoder(packet.stream)
    assert isinstance(decoder, VideoCodecContext)
    try:
        frames = [*decoder.decode(packet.payload), *decoder.decode(None)]
    except av.error.FFmpegError:
        return None
    return np.asarray(frames[0].to_ndarray(format="rgb24"), np.uint8) if frames else None
