"""How a camera itself is doing, measured from what is decoded anyway: one `Condition` per window.

Everything is taken from the analysis picture (240 pixels wide) and the window's samples; about a
third of a millisecond per camera-second. What follows from it is judged in `alerts.health`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmstream.downscale import area_reduced
from mmstream.types import Condition, Float32, Frame, Mode, UInt8, Window

VIEW_EVERY_S = 1.9
VIEW_PICTURES = 5
"""The background is their median: what passes in less than half of their time leaves no edge."""
COARSE = (9, 16)
BACKGROUND_RATE = 0.01
"""Per picture; slower than anything that is judged, faster than the sun."""

SAME_LEVELS = 8
MOVED_SHARE = 0.002
"""A frozen picture is coded anew at every key frame: measured on re-encoded footage, the first two are up to 8 levels
apart (a few pixels more), in 30-70 % of the pixels; after 8 s in less than 15 %. Two key pictures of a living sensor
differ in 63-99 %."""

GREY = 0.25
"""Mean chroma this near to 128 is no colour."""
FLAT_BITS = 1.5
COLLAPSED = 0.3
MODE_WINDOWS = 4
"""A camera has changed between colour and infrared when so many windows in a row say so."""

DOUBTFUL_WINDOWS = 30
"""... or, when it may be a cover or a hand that is seen, so many."""

FULL_SCALE = 0.98
DIGITAL_SILENCE_DB = -120.0


class ConditionMeter:
    """`Window`s of one feed -> `Condition`s. One object per feed, one caller; about 60 KB."""

    def __init__(self, feed_id: str) -> None:
        self._feed_id = feed_id
        self._seen_s = -math.inf
        self._shape: tuple[int, ...] = ()
        self._has_sounded = False
        self.mode: Mode = ""
        self._mode_votes = 0
        self._has_mode = False
        self._has_colour = False
        self._sharpness = 0.0
        self._start_over()

    def _start_over(self) -> None:
        """Another picture size: nothing that was seen can be compared."""
        self._key: Frame | None = None
        self._still_from_s: float | None = None
        self._change: float | None = None
        self._background: Float32 | None = None
        self._views: deque[UInt8] = deque(maxlen=VIEW_PICTURES)
        self._viewed_s = -math.inf

    def measure(self, window: Window, *, history: bool = False, clock_error_s: float | None = None) -> Condition:
        """Call once per window, in order."""
        frames = [frame for frame in window.frames if frame.start_s > self._seen_s]
        if window.end_s < self._seen_s:  # the clock was set back
            frames, self._key = list(window.frames), None
        measured: dict[str, Any] = {}
        if frames:
            self._seen_s = frames[-1].start_s
            if frames[-1].luma.shape != self._shape:
                self._shape = frames[-1].luma.shape
                self._start_over()
            for frame in frames:
                if frame.is_key and frame.luma.shape == self._shape:
                    self._compare(frame)
            measured = self._picture(frames[-1])
            self._vote(frames, measured)
        return Condition(
            feed_id=self._feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            history=history,
            mode=self.mode,
            clock_error_s=clock_error_s,
            **measured,
            **self._sound(window),
        )

    def _vote(self, frames: list[Frame], measured: Mapping[str, Any]) -> None:
        """Infrared pictures have no colour at all. A black or covered picture may have none either, and says little;
        and a camera that never had colour does not get it from a hand before its lens."""
        if measured["entropy_bits"] < FLAT_BITS:
            return
        usual = self._sharpness if self._sharpness > 0 else measured["sharpness"]
        blank = measured["sharpness"] < COLLAPSED * usual
        self._sharpness = usual + BACKGROUND_RATE * (measured["sharpness"] - usual)
        grey = all(abs(u - 128.0) < GREY and abs(v - 128.0) < GREY for u, v in (frame.chroma for frame in frames))
        seen: Mode = "infrared" if grey else ""
        self._mode_votes = self._mode_votes + 1 if seen != self.mode else 0
        doubtful = blank or (seen == "" and not self._has_colour and measured["likeness"] < 0.5)
        if self._mode_votes >= (DOUBTFUL_WINDOWS if doubtful else MODE_WINDOWS) or not self._has_mode:
            self.mode, self._mode_votes, self._has_mode = seen, 0, True
            self._has_colour = self._has_colour or seen == ""

    def _compare(self, key: Frame) -> None:
        """With the key picture before: the pictures between are built on it, and say less about a sensor's noise."""
        previous, self._key = self._key, key
        if previous is None:
            self._still_from_s = None
            return
        apart = _apart(key.luma, previous.luma)
        self._change = float(np.count_nonzero(apart)) / apart.size
        if _differ(apart):
            self._still_from_s = None
        elif self._still_from_s is None:
            self._still_from_s = previous.start_s

    def _picture(self, frame: Frame) -> dict[str, Any]:
        luma = frame.luma
        small = luma[::2, ::2].astype(np.float32)
        coarse = area_reduced(luma, *COARSE)
        if self._background is None:
            self._background = coarse
        likeness = _correlation(coarse, self._background)
        if likeness > 0.5:  # a hand before the lens must not become the background
            self._background = self._background + BACKGROUND_RATE * (coarse - self._background)
        else:
            self._background = self._background + BACKGROUND_RATE / 10 * (coarse - self._background)
        if self._still_from_s is not None and self._key is not None and _differ(_apart(luma, self._key.luma)):
            self._still_from_s = None  # it moves again, and no key picture has told so yet
        still_s = frame.start_s - self._still_from_s if self._still_from_s is not None else 0.0
        return {
            "brightness": float(small.mean()),
            "contrast": float(small.std()),
            "entropy_bits": _entropy_bits(luma),
            "sharpness": sharpness(luma),
            "likeness": likeness,
            "change": self._change,
            "still_s": still_s if self._key is not None else None,
            "view": self._view(frame),
        }

    def _view(self, frame: Frame) -> UInt8 | None:
        self._views.append(halved(frame.luma))
        if len(self._views) < VIEW_PICTURES or 0 <= frame.start_s - self._viewed_s < VIEW_EVERY_S:
            return None
        self._viewed_s = frame.start_s
        return edges(median_of_five(*self._views))

    def _sound(self, window: Window) -> dict[str, Any]:
        samples = window.samples
        if not samples.size:
            # no sound where there was sound is the deepest silence
            return {"level_db": DIGITAL_SILENCE_DB if self._has_sounded else None, "clipped_share": None}
        self._has_sounded = True
        power = 2.0 * float(np.dot(samples, samples)) / samples.size
        loud = int(np.count_nonzero(samples >= FULL_SCALE)) + int(np.count_nonzero(samples <= -FULL_SCALE))
        level_db = 10.0 * math.log10(power) if power > 1e-12 else DIGITAL_SILENCE_DB
        return {"level_db": level_db, "clipped_share": loud / samples.size}


def sharpness(luma: UInt8) -> float:
    """Variance of the four-neighbour Laplacian on every second row.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (2000).
    """
    wide = luma.astype(np.int16)
    inner = wide[1:-1:2]
    laplacian = 4 * inner[:, 1:-1] - inner[:, :-2] - inner[:, 2:] - wide[:-2:2, 1:-1] - wide[2::2, 1:-1][: len(inner)]
    flat = laplacian.astype(np.float32).ravel()
    return float(np.dot(flat, flat)) / flat.size - float(flat.mean()) ** 2


def halved(luma: UInt8) -> UInt8:
    """Means over two by two pixels."""
    rows, cols = luma.shape[0] // 2 * 2, luma.shape[1] // 2 * 2
    wide = luma[:rows, :cols].astype(np.uint16)
    total = wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2]
    return np.asarray(total >> 2, np.uint8)


def edges(picture: UInt8) -> UInt8:
    """(H, W): how steep the picture is at every pixel, as a share of its steepest: light and gain drop out."""
    wide = picture.astype(np.int16)
    steep = np.zeros(picture.shape, np.float32)
    steep[1:-1, 1:-1] = np.abs(wide[1:-1, 2:] - wide[1:-1, :-2]) + np.abs(wide[2:, 1:-1] - wide[:-2, 1:-1])
    top = float(np.partition(steep, -steep.size // 50, axis=None)[-steep.size // 50])
    scaled: UInt8 = np.minimum(255.0 * np.sqrt(steep / max(top, 8.0)), 255.0).astype(np.uint8)
    return scaled


def median_of_five(a: UInt8, b: UInt8, c: UInt8, d: UInt8, e: UInt8) -> UInt8:
    """Pixel by pixel, by comparisons alone: 30 microseconds, where ``np.median`` takes 2 ms.

    >>> pictures = [np.array([n], np.uint8) for n in (9, 1, 5, 200, 4)]
    >>> int(median_of_five(*pictures)[0])
    5
    """
    lower = np.maximum(np.minimum(a, b), np.minimum(c, d))
    upper = np.minimum(np.maximum(a, b), np.maximum(c, d))
    median: UInt8 = np.maximum(np.minimum(lower, upper), np.minimum(np.maximum(lower, upper), e))
    return median


def _entropy_bits(luma: UInt8) -> float:
    counts = np.bincount((luma[::2, ::2] >> 2).ravel(), minlength=64)
    shares = counts[counts > 0] / counts.sum()
    return float(-np.dot(shares, np.log2(shares)))


def _apart(a: UInt8, b: UInt8) -> UInt8:
    apart: UInt8 = np.maximum(a, b) - np.minimum(a, b)
    return apart


def _differ(apart: UInt8) -> bool:
    return int(np.count_nonzero(apart > SAME_LEVELS)) > MOVED_SHARE * apart.size


def _correlation(a: Float32, b: Float32) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.vdot(a, b)) / size if size > 1e-3 else 0.0
