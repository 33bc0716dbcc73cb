"""Doubles and makers for tests of parts, shipped so that users can test theirs.

>>> window = make_window(start_s=10.0, tone_hz=440.0)
>>> (window.end_s, len(window.frames), window.samples.shape)
(12.0, 10, (32000,))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmstream.types import (
    Embedding,
    EncodedWindow,
    Float32,
    Frame,
    Packet,
    Reading,
    Snapshot,
    StreamParameters,
    TextSpan,
    UInt8,
    Window,
)

SAMPLE_RATE_HZ = 16_000


def make_luma(seed: int = 0, *, width_px: int = 240, height_px: int = 136, level: int = 110) -> UInt8:
    """A picture with structure: a gradient, two boxes and a little noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    picture = level + 30 * np.sin(columns / 23) + rows / 6 + random.normal(0, 1.5, (height_px, width_px))
    picture[20:60, 30:90] += 40
    picture[80:120, 150:200] -= 35
    luma: UInt8 = np.clip(picture, 0, 255).astype(np.uint8)
    return luma


def make_frame(start_s: float = 0.0, *, seed: int = 0, speed: float | None = 1.0, feed_id: str = "cam") -> Frame:
    """A picture in which one object-sized patch moves right at ``speed``; None: no motion vectors."""
    motion: Float32 | None = None
    if speed is not None:
        motion = np.zeros((50, 90, 2), np.float32)
        motion[20:30, 40:50, 0] = speed
    return Frame(
        feed_id=feed_id, start_s=start_s, end_s=start_s + 0.2, is_key=False, luma=make_luma(seed), motion=motion
    )


def make_samples(seconds: float = 2.0, *, tone_hz: float = 0.0, level: float = 0.05, seed: int = 0) -> Float32:
    """Noise, with a tone in it when asked."""
    random = np.random.default_rng(seed)
    times_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    samples = random.normal(0, level, times_s.size)
    if tone_hz:
        samples += 0.5 * np.sin(2 * np.pi * tone_hz * times_s)
    return samples.astype(np.float32)


def make_window(
    start_s: float = 0.0,
    *,
    feed_id: str = "cam",
    picture: bool = True,
    sound: bool = True,
    tone_hz: float = 0.0,
    speed: float | None = 1.0,
    words: Sequence[str] = (),
    readings: Sequence[tuple[str, float]] = (),
    seed: int = 0,
) -> Window:
    """Two seconds of a feed, with or without each modality."""
    frames = tuple(
        make_frame(start_s + 0.2 * index, seed=seed * 100 + index, speed=speed, feed_id=feed_id) for index in range(10)
    )
    return Window(
        feed_id=feed_id,
        start_s=start_s,
        end_s=start_s + 2.0,
        frames=frames if picture else (),
        samples=make_samples(tone_hz=tone_hz, seed=seed) if sound else np.zeros(0, np.float32),
        sample_rate_hz=SAMPLE_RATE_HZ if sound else 0,
        texts=tuple(
            TextSpan(feed_id=feed_id, start_s=start_s, end_s=start_s + 1, text=text, origin="caption") for text in words
        ),
        readings=tuple(
            Reading(feed_id=feed_id, start_s=start_s, end_s=start_s, sensor=sensor, value=value)
            for sensor, value in readings
        ),
        packets=tuple((start_s + 0.2 * n, 9000 if n == 0 else 1000, n == 0) for n in range(10)) if picture else (),
    )


def make_embedding(
    start_s: float = 0.0,
    *,
    channel: str = "appearance",
    vector: Sequence[float] = (0.0, 1.0),
    feed_id: str = "cam",
    model: str = "test@1",
) -> Embedding:
    return Embedding(
        feed_id=feed_id,
        start_s=start_s,
        end_s=start_s + 2.0,
        channel=channel,
        vector=np.asarray(vector, np.float32),
        model=model,
    )


def make_encoded(
    start_s: float = 0.0,
    embeddings: Sequence[Embedding] = (),
    *,
    feed_id: str = "cam",
    pending: Sequence[str] = (),
    history: bool = False,
) -> EncodedWindow:
    return EncodedWindow(
        feed_id=feed_id,
        start_s=start_s,
        end_s=start_s + 2.0,
        embeddings=tuple(embeddings),
        pending=frozenset(pending),
        history=history,
    )


def make_snapshot(shape: Sequence[int], *, encoder: str, start_s: float = 0.0, seed: int = 0) -> Snapshot:
    picture = np.random.default_rng(seed).integers(0, 255, tuple(shape), dtype=np.uint8)
    return Snapshot(feed_id="cam", start_s=start_s, end_s=start_s + 2.0, encoder=encoder, data=picture)


def make_packet(
    start_s: float = 0.0, *, kind: str = "video", is_key: bool = False, size_bytes: int = 1000, feed_id: str = "cam"
) -> Packet:
    """A packet without a payload: enough for the gate and the ring, not for a decoder."""
    stream = VIDEO if kind == "video" else AUDIO
    return Packet(
        feed_id=feed_id,
        start_s=start_s,
        end_s=start_s + 0.1,
        is_key=is_key,
        size_bytes=size_bytes,
        stream=stream,
        payload=None,
    )


VIDEO = StreamParameters(kind="video", codec="h264", time_base=(1, 90_000), width_px=640, height_px=360)
AUDIO = StreamParameters(kind="audio", codec="aac", time_base=(1, 16_000), sample_rate_hz=16_000, channels=1)
