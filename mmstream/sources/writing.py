"""A recording made from pictures and sound: what a camera would have stored of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from mmstream.types import Float32, UInt8

_PICTURE_OPTIONS = {"preset": "veryfast", "crf": "23", "bf": "0", "x264-params": "scenecut=0"}
"""As cameras do: no B pictures, key frames by the clock alone, so that no edit is marked by a key frame."""
_SOUND_BIT_RATE = 64_000


class RecordingWriter:
    """H.264 with a key frame a second, and mono AAC, in MP4. Every recording gets the same settings.

    Use as a context manager. Picture and sound may be written in any order, each in its own.

    Raises:
        ValueError: a picture of another size, or an odd size, which H.264 in 4:2:0 cannot hold.
    """

    def __init__(self, path: Path, *, size_px: tuple[int, int], fps: int, rate_hz: int = 0) -> None:
        """``size_px``: width, height. ``rate_hz`` 0: no sound."""
        if size_px[0] % 2 or size_px[1] % 2:
            raise ValueError(f"H.264 wants an even width and height, got {size_px}")
        self._size_px = size_px
        self._fps = fps
        self._rate_hz = rate_hz
        self._num_pictures = 0
        self._num_samples = 0
        self._container = av.open(str(path), "w", format="mp4")
        self._video: Any = self._container.add_stream(
            "libx264", rate=fps, options={**_PICTURE_OPTIONS, "g": str(fps), "keyint_min": str(fps)}
        )
        self._video.width, self._video.height = size_px
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.thread_count = 1
        self._audio: Any = None
        if rate_hz:
            self._audio = self._container.add_stream("aac", rate=rate_hz, layout="mono", bit_rate=_SOUND_BIT_RATE)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._video.encode(None))
                if self._audio is not None:
                    self._container.mux(self._audio.encode(None))
        finally:
            self._container.close()

    @property
    def length_s(self) -> float:
        """Seconds of picture written so far."""
        return self._num_pictures / self._fps

    def picture(self, picture: UInt8) -> None:
        """The next picture: (height, width, 3) uint8 RGB."""
        if picture.shape != (self._size_px[1], self._size_px[0], 3):
            raise ValueError(f"want a picture of {self._size_px} px in RGB, got an array {picture.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self._num_pictures, Fraction(1, self._fps)
        self._num_pictures += 1
        self._container.mux(self._video.encode(frame))

    def sound(self, samples: Float32) -> None:
        """The next samples: (n,) in -1..1; what is beyond is clipped."""
        if self._audio is None:
            raise ValueError("this recording has no sound; give rate_hz when making it")
        clipped = np.clip(samples, -1.0, 1.0).astype(np.float32)[None, :]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(clipped), format="fltp", layout="mono")
        frame.sample_rate = self._rate_hz
        frame.pts, frame.time_base = self._num_samples, Fraction(1, self._rate_hz)
        self._num_samples += clipped.shape[1]
        self._container.mux(self._audio.encode(frame))
