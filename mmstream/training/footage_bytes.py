"""Bursts as bytes: pictures as JPEG, mels in steps of 0.1, speeds in steps of 0.05 of the net's unit.

A chunk is an ``.npz`` of two arrays, without pickle: ``index``, JSON, and ``blobs``, everything one after the other.
What is thinned out of a chunk leaves the other bursts as they were coded.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmstream.errors import StageError
from mmstream.training.footage import MEL_BANDS, MEL_FRAMES, Burst, Glimpse, MotionSample
from mmstream.types import Float32, UInt8

FORMAT = 1
PICTURE_QUALITY = 90
LUMA_QUALITY = 80
SPEED_STEP = 0.05
"""Of the net's unit; 255 steps are a third of the picture's width in a second."""
MEL_LOW = -23.1
MEL_STEP = 0.1
"""0.43 dB. 255 of them from -23.1, silence, reach to a power of 11, which no sound has."""

_DAMAGE = (
    *(LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError, EOFError),
    *(zlib.error, zipfile.BadZipFile),
)
"""What reading a damaged file raises; the zip's checksums find nearly all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBurst:
    """A burst as it lies in a chunk. ``index`` is plain JSON; places in it count from the start of ``blob``."""

    index: dict[str, Any]
    blob: bytes

    @property
    def start_s(self) -> float:
        return float(self.index["glimpses"][0]["start_s"])


def packed(burst: Burst) -> PackedBurst:
    blob = bytearray()

    def place(data: bytes) -> list[int]:
        blob.extend(data)
        return [len(blob) - len(data), len(blob)]

    glimpses = [
        {
            "start_s": glimpse.start_s,
            "end_s": glimpse.end_s,
            "picture": None if glimpse.picture is None else place(_to_jpeg(glimpse.picture, PICTURE_QUALITY)),
            "mel": None if glimpse.mel is None else place(_deflated(glimpse.mel, MEL_LOW, MEL_STEP)),
        }
        for glimpse in burst.glimpses
    ]
    motion = [
        {
            "at_s": sample.at_s,
            "luma": place(_to_jpeg(sample.luma, LUMA_QUALITY)),
            "background": place(_to_jpeg(sample.background, LUMA_QUALITY)),
            "speeds": place(_deflated(sample.speeds, 0.0, SPEED_STEP)),
            "grid": list(sample.speeds.shape),
        }
        for sample in burst.motion
    ]
    scales = {"mel": [MEL_LOW, MEL_STEP], "speeds": [0.0, SPEED_STEP]}
    return PackedBurst(index={"glimpses": glimpses, "motion": motion, "scales": scales}, blob=bytes(blob))


def unpacked(feed_id: str, burst: PackedBurst) -> Burst:
    """Raises StageError for what is damaged."""

    def bytes_of(place: Sequence[int]) -> bytes:
        return burst.blob[place[0] : place[1]]

    try:
        scales = burst.index["scales"]
        glimpses = [
            Glimpse(
                start_s=at["start_s"],
                end_s=at["end_s"],
                picture=None if at["picture"] is None else _from_jpeg(bytes_of(at["picture"])),
                mel=None if at["mel"] is None else _inflated(bytes_of(at["mel"]), scales["mel"], MEL_BANDS, MEL_FRAMES),
            )
            for at in burst.index["glimpses"]
        ]
        motion = [
            MotionSample(
                at_s=at["at_s"],
                luma=_from_jpeg(bytes_of(at["luma"])),
                background=_from_jpeg(bytes_of(at["background"])),
                speeds=_inflated(bytes_of(at["speeds"]), scales["speeds"], *at["grid"]),
            )
            for at in burst.index["motion"]
        ]
    except _DAMAGE as error:
        raise StageError(f"a burst of {feed_id!r} is damaged and left out: {error}") from error
    return Burst(feed_id=feed_id, glimpses=tuple(glimpses), motion=tuple(motion))


def chunk_of(bursts: Sequence[PackedBurst]) -> bytes:
    """The file that holds these, in their order."""
    ends = np.cumsum([len(burst.blob) for burst in bursts]).tolist()
    index = {"format": FORMAT, "ends": ends, "bursts": [burst.index for burst in bursts]}
    file = io.BytesIO()
    blobs = np.frombuffer(b"".join(burst.blob for burst in bursts), np.uint8)
    np.savez(file, index=np.frombuffer(json.dumps(index).encode(), np.uint8), blobs=blobs)
    return file.getvalue()


def bursts_of(chunk: bytes | Path, *, with_blobs: bool = True) -> list[PackedBurst]:
    """What is in a file, or in its bytes; ``with_blobs`` False reads little and gives empty blobs.

    Raises:
        StageError: it is damaged, or of another format.
        FileNotFoundError: there is no such file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(chunk) if isinstance(chunk, bytes) else chunk) as arrays:
            index = json.loads(_array_in(arrays, "index"))
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']!r}, want {FORMAT}")
            blobs = _array_in(arrays, "blobs") if with_blobs else b""
        ends = index["ends"]
        bursts = [
            PackedBurst(index=one, blob=blobs[start:end])
            for start, end, one in zip([0, *ends][:-1], ends, index["bursts"], strict=True)
        ]
        if not bursts or not all(burst.start_s < np.inf for burst in bursts):
            raise ValueError("no bursts")
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise StageError(f"a file of footage is damaged and left out: {error}") from error
    return bursts


def _array_in(arrays: zipfile.ZipFile, name: str) -> bytes:
    """All of it is read, and its checksum compared, before NumPy looks at what it says of itself."""
    content = io.BytesIO(arrays.read(f"{name}.npy"))
    return np.asarray(np.lib.format.read_array(content, allow_pickle=False), np.uint8).tobytes()


def _to_jpeg(picture: UInt8, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _from_jpeg(content: bytes) -> UInt8:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image, np.uint8)


def _deflated(values: Float32, low: float, step: float) -> bytes:
    steps = np.clip(np.rint((values - np.float32(low)) / np.float32(step)), 0, 255).astype(np.uint8)
    return zlib.compress(steps.tobytes(), 6)


def _inflated(data: bytes, scale: Sequence[float], rows: int, cols: int) -> Float32:
    steps = np.frombuffer(zlib.decompress(data), np.uint8).reshape(rows, cols)
    return steps * np.float32(scale[1]) + np.float32(scale[0])
