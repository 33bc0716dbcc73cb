"""Small clips with known content, made on the spot: a moving bar and a tone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

VIDEO_OPTIONS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "bf": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "keyint=10:bframes=0:log-level=none:pools=none:frame-threads=1"},
    "mjpeg": {},
}
SOUND_RATES_HZ = {"aac": 16_000, "libopus": 48_000, "pcm_alaw": 8_000, "pcm_mulaw": 8_000}


def make_clip(
    path: Path,
    *,
    video: str = "libx264",
    audio: str = "aac",
    seconds: float = 3.0,
    fps: int = 10,
    width_px: int = 320,
    height_px: int = 192,
    tone_hz: float = 440.0,
) -> Path:
    """Write a clip; an empty codec name leaves that track out. Returns ``path``."""
    with av.open(str(path), "w") as container:
        if video:
            picture = container.add_stream(video, rate=fps, options=VIDEO_OPTIONS.get(video, {}))
            picture.width, picture.height = width_px, height_px
            picture.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        if audio:
            rate_hz = SOUND_RATES_HZ.get(audio, 16_000)
            sound = container.add_stream(audio, rate=rate_hz, layout="mono")
            tone = np.sin(2 * np.pi * tone_hz * np.arange(int(seconds * rate_hz)) / rate_hz)
            samples = av.AudioFrame.from_ndarray((tone * 8000).astype(np.int16)[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = rate_hz, 0, Fraction(1, rate_hz)
            resampler = av.AudioResampler(sound.format, "mono", rate_hz, frame_size=sound.frame_size or rate_hz // 50)
            chunks = [*resampler.resample(samples), *resampler.resample(None)]
        for index in range(int(seconds * fps) if video else 0):
            image = np.full((height_px, width_px, 3), 60, np.uint8)
            at = index * width_px // int(seconds * fps)
            image[:, at : at + 16] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(picture.encode(frame))
            while audio and chunks and float(chunks[0].pts / rate_hz) <= index / fps:
                container.mux(sound.encode(chunks.pop(0)))
        if audio:
            for chunk in chunks:
                container.mux(sound.encode(chunk))
            container.mux(sound.encode(None))
        if video:
            container.mux(picture.encode(None))
    return path
