"""Normal pictures of a feed's last day, kept small, for the training at night."""

from __future__ import annotations

import io
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmstream.encoders.expectation_input import MOVING, Background, Sample, speeds_of
from mmstream.types import Frame, UInt8

KEEP_S = 86_400.0
FIRST_EVERY_S = 1.0
"""A new camera keeps a picture a second at most, and trains on its first night."""
JPEG_QUALITY = 80
SPEED_STEP = 0.05
"""Speeds are kept to so many of the net's units, up to 255 steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    at_s: float
    luma: bytes
    background: bytes
    speeds: bytes
    grid: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        return len(self.luma) + len(self.background) + len(self.speeds)


class NormalDay:
    """Moving pictures spread evenly over the last day, at most ``max_bytes`` of them.

    When they become too many, every second one goes and no more than are left are taken from then on, until they
    reach back half a day; then the oldest go. Pictures in which nothing moves teach nothing and are not kept.
    """

    def __init__(self, *, max_bytes: int = 6_000_000) -> None:
        if max_bytes < 1:
            raise ValueError(f"NormalDay: want max_bytes of at least 1, got {max_bytes}")
        self._max_bytes = max_bytes
        self._every_s = FIRST_EVERY_S
        self._background: Background | None = None
        self._kept: list[_Kept] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def push(self, frame: Frame) -> None:
        """Give every analysed picture, in the order of time: the background follows all of them."""
        self._background = self._background or Background(frame.luma)
        background = self._background.push(frame.luma)
        if self._kept and frame.start_s < self._kept[-1].at_s + self._every_s:
            return
        speeds = speeds_of(frame)
        if speeds is None or not (speeds > MOVING).any():
            return
        steps = np.minimum(np.rint(speeds / np.float32(SPEED_STEP)), 255).astype(np.uint8)
        self._add(
            _Kept(
                at_s=frame.start_s,
                luma=_to_jpeg(frame.luma),
                background=_to_jpeg(background),
                speeds=zlib.compress(steps.tobytes(), 1),
                grid=(steps.shape[0], steps.shape[1]),
            )
        )

    def discard(self, from_s: float, to_s: float) -> None:
        """What was shown in ``[from_s, to_s)`` turned out not to be normal: nothing of it is learned."""
        self._keep([kept for kept in self._kept if not from_s <= kept.at_s < to_s])

    def samples(self) -> Iterator[Sample]:
        """For `expectation_training.train_on`, in the order of time."""
        for kept in self._kept:
            steps = np.frombuffer(zlib.decompress(kept.speeds), np.uint8).reshape(kept.grid)
            yield Sample(
                at_s=kept.at_s,
                luma=_from_jpeg(kept.luma),
                background=_from_jpeg(kept.background),
                speeds=steps * np.float32(SPEED_STEP),
            )

    def _add(self, new: _Kept) -> None:
        old = sum(1 for _ in itertools.takewhile(lambda kept: kept.at_s < new.at_s - KEEP_S, self._kept))
        self._keep([*self._kept[old:], new])
        if self.size_bytes <= self._max_bytes:
            return
        span_s = new.at_s - self._kept[0].at_s
        if span_s < KEEP_S / 2:
            self._keep(self._kept[::2])
            self._every_s = max(2 * self._every_s, span_s / len(self._kept))
        while self.size_bytes > self._max_bytes:
            self._keep(self._kept[1:])

    def _keep(self, kept: list[_Kept]) -> None:
        self._kept = kept
        self.size_bytes = sum(item.size_bytes for item in kept)


def _to_jpeg(luma: UInt8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(luma).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _from_jpeg(content: bytes) -> UInt8:
    return np.asarray(Image.open(io.BytesIO(content)), np.uint8)
