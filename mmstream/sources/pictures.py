"""From a decoded picture to the small ones that are looked at: analysis, encoders, people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from mmstream.sources.timed_decoder import TimedDecoder, from_key, newest_run
from mmstream.types import Packet, PictureSpec, UInt8

JPEG_WIDTH_PX = 640
JPEG_QUALITY = 75
_CHROMA_STEP = 8


class Scaler:
    """Scales to one size and format. AREA: other filters skip pixels, and sensor noise then flickers.

    For another size FFmpeg sets its scaler up anew, which takes as long as to scale.
    """

    def __init__(self, pixel_format: str) -> None:
        self._format = pixel_format
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, width_px: int, height_px: int) -> UInt8:
        """-> uint8 (H, W) for ``gray``, full range; (H, W, 3) for ``rgb24``."""
        small = self._reformatter.reformat(
            frame, width_px, height_px, self._format, interpolation=Interpolation.AREA, threads=1
        )
        return np.asarray(small.to_ndarray(), np.uint8)


class PictureMaker:
    """Reduces decoded pictures of one feed to what its encoders asked for."""

    def __init__(self) -> None:
        self._luma = Scaler("gray")
        self._scalers: dict[PictureSpec, Scaler] = {}

    def luma(self, frame: av.VideoFrame, width_px: int) -> UInt8:
        """(H, W): ``width_px`` wide, aspect kept, even height."""
        height_px = max(2, round(width_px * frame.height / frame.width / 2) * 2)
        return self._luma(frame, width_px, height_px)

    def picture(self, frame: av.VideoFrame, spec: PictureSpec) -> UInt8:
        if spec not in self._scalers:
            self._scalers[spec] = Scaler("rgb24" if spec.colour else "gray")
        return self._scalers[spec](frame, spec.width_px, spec.height_px)


def chroma_means(frame: av.VideoFrame) -> tuple[float, float]:
    """Mean U and V over every eighth sample of every eighth row, read in place: 10 microseconds.

    (128, 128) for gray pictures and for the rare layouts that are not 8-bit planar.
    """
    if not frame.format.name.startswith(("yuv4", "yuvj4")) or frame.format.components[0].bits != 8:
        return 128.0, 128.0
    means = []
    for plane in frame.planes[1:3]:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        means.append(float(rows[: plane.height : _CHROMA_STEP, : plane.width : _CHROMA_STEP].mean()))
    return means[0], means[1]


def to_jpeg(frame: av.VideoFrame, *, max_width_px: int = JPEG_WIDTH_PX, quality: int = JPEG_QUALITY) -> bytes:
    """A picture for people: never enlarged, colours converted, JPEG."""
    width = min(max_width_px, frame.width)
    height = max(1, round(frame.height * width / frame.width))
    small: Any = Scaler("rgb24")(frame, width, height)
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def jpeg_near(packets: Sequence[Packet], at_s: float, *, max_width_px: int = JPEG_WIDTH_PX) -> bytes | None:
    """The picture nearest to ``at_s`` as JPEG; decodes from the last key frame before it.

    None when no packet of the newest connection can be decoded.
    """
    video = from_key(newest_run([packet for packet in packets if packet.kind == "video"]), at_s)
    if not video:
        return None
    decoder = TimedDecoder(video[0].stream)
    nearest: tuple[float, av.VideoFrame] | None = None
    for packet in [*video, None]:
        try:
            decoded = decoder.flush() if packet is None else decoder.push(packet)
        except av.error.FFmpegError:
            continue
        for frame, start_s, _ in decoded:
            if not frame.is_corrupt and (nearest is None or abs(start_s - at_s) < nearest[0]):
                nearest = abs(start_s - at_s), frame
        if decoded and decoded[-1][1] > at_s:
            break
    return None if nearest is None else to_jpeg(nearest[1], max_width_px=max_width_px)
