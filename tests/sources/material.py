"""Small encoded clips with known pictures and sound, and their packets as a source would give them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mmstream.sources.tracks import choose_tracks
from mmstream.types import Float32, Packet, UInt8

EPOCH_S = 1_700_000_000.0
PICTURES = {
    "h264": ("libx264", {"preset": "ultrafast", "g": "10", "bf": "0", "qp": "12"}),
    "h264_b": ("libx264", {"preset": "medium", "g": "10", "bf": "2", "x264-params": "open-gop=0:scenecut=0"}),
    "h264_pyramid": (
        "libx264",
        {"preset": "medium", "g": "10", "bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0:scenecut=0:open-gop=0"},
    ),
    "h264_flat": (
        "libx264",
        {"preset": "medium", "g": "10", "bf": "3", "x264-params": "b-pyramid=none:b-adapt=0:scenecut=0:open-gop=0"},
    ),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "keyint=10:bframes=0:log-level=none:pools=none"}),
    "mpeg4": ("mpeg4", {"g": "10"}),
    "mjpeg": ("mjpeg", {}),
}


def texture(width_px: int, height_px: int, shift_px: int = 0) -> UInt8:
    """(H, W, 3): smooth blobs that move right as a whole, so that an encoder finds exactly that."""
    random = np.random.default_rng(1)
    coarse = random.uniform(30, 220, (height_px // 8 + 1, width_px // 8 + 1))
    fine = np.kron(coarse, np.ones((8, 8)))[:height_px, :width_px]
    return np.repeat(np.roll(fine, shift_px, axis=1)[:, :, None], 3, axis=2).astype(np.uint8)


def write_clip(
    path: Path,
    *,
    video: str = "h264",
    audio: str = "",
    seconds: float = 3.0,
    fps: int = 10,
    size_px: tuple[int, int] = (320, 192),
    step_px: int = 4,
    tone_hz: float = 440.0,
    audio_rate_hz: int = 16_000,
) -> Path:
    """Pictures shifted by ``step_px`` a frame, beside a steady tone at half of full scale."""
    with av.open(str(path), "w") as container:
        if video:
            codec, options = PICTURES[video]
            pictures = container.add_stream(codec, rate=fps, options=dict(options))
            pictures.width, pictures.height = size_px
            pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            pictures.codec_context.thread_count = 1
        if audio:
            sound = container.add_stream(audio, rate=audio_rate_hz, layout="mono")
        if video:
            for number in range(int(seconds * fps)):
                frame = av.VideoFrame.from_ndarray(texture(*size_px, number * step_px), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        if audio:
            container.mux([*sound.encode(_tone_frame(seconds, audio_rate_hz, tone_hz)), *sound.encode(None)])
    return path


def tone(seconds: float, rate_hz: int, tone_hz: float) -> Float32:
    return (0.5 * np.sin(2 * np.pi * tone_hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def _tone_frame(seconds: float, rate_hz: int, tone_hz: float) -> av.AudioFrame:
    samples = (tone(seconds, rate_hz, tone_hz) * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
    return frame


def read_packets(path: Path, *, epoch: int = 0, epoch_s: float = EPOCH_S) -> list[Packet]:
    """All packets of the chosen tracks in file order; the container is closed before they are used."""
    packets = []
    with av.open(str(path)) as container:
        tracks = choose_tracks(container, audio=True, epoch=epoch)
        for payload in container.demux(list(tracks.streams)):
            stamp = payload.pts if payload.pts is not None else payload.dts
            if stamp is None or not payload.size:
                continue
            stream = tracks.parameters[payload.stream_index]
            seconds_per_tick = Fraction(*stream.time_base)
            start_s = epoch_s + float(stamp * seconds_per_tick)
            packets.append(
                Packet(
                    feed_id="cam",
                    start_s=start_s,
                    end_s=start_s + float((payload.duration or 0) * seconds_per_tick),
                    is_key=payload.is_keyframe,
                    size_bytes=payload.size,
                    stream=stream,
                    payload=payload,
                )
            )
    return packets


def damaged(packet: Packet, data: bytes) -> Packet:
    """The same packet with other bytes."""
    payload: av.Packet = av.Packet(data)
    payload.pts, payload.dts, payload.time_base = packet.payload.pts, packet.payload.dts, packet.payload.time_base
    return changed(packet, {"payload": payload, "size_bytes": len(data)})


def changed(packet: Packet, fields: Mapping[str, object]) -> Packet:
    values = {name: getattr(packet, name) for name in Packet.__slots__}
    return Packet(**{**values, **fields})


def pictures_of(source: str | Path, *, stream: int = 0) -> list[UInt8]:
    """Every picture of a file, in its own pixels."""
    with av.open(str(source)) as container:
        return [np.asarray(frame.to_ndarray(), np.uint8) for frame in container.decode(video=stream)]
