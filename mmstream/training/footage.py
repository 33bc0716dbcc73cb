"""What a site's own models learn from: short bursts of what a feed showed and sounded, small, spread over days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmstream.types import Float32, Mode, UInt8

PICTURE_PX = 112
"""Square; the whole picture is squeezed into it, as replica encoders are given it."""
MEL_BANDS = 64
MEL_FRAMES = 96
"""Of one window of 2 s."""
GREY_LEVELS = 2.0
"""Colours differ by less in an infrared picture, after JPEG."""
BURST_WINDOWS = 4
"""Windows in a row, one second apart: enough to learn what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Glimpse:
    """One window of a feed, as small as the site's networks want it."""

    start_s: float
    end_s: float
    picture: UInt8 | None = None
    """RGB (PICTURE_PX, PICTURE_PX, 3); None: the feed showed nothing."""
    mel: Float32 | None = None
    """(MEL_BANDS, MEL_FRAMES) log-mel, natural logarithms, as `encoders.footage_mel` gives it; None: mute."""

    @property
    def mode(self) -> Mode:
        """How the camera saw: in infrared there is no colour."""
        if self.picture is None:
            return ""
        picture = self.picture.astype(np.float32)
        apart = np.abs(picture - picture.mean(axis=2, keepdims=True)).mean()
        return "infrared" if apart < GREY_LEVELS else ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionSample:
    """One picture with what moved in it: what the expectation net learns from (`encoders.expectation_input.Sample`)."""

    at_s: float
    luma: UInt8
    """(H, W)."""
    background: UInt8
    """(H, W)."""
    speeds: Float32
    """(rows, cols), in the net's units."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Burst:
    """`BURST_WINDOWS` successive windows of a feed, and the moving pictures among them."""

    feed_id: str
    glimpses: tuple[Glimpse, ...]
    motion: tuple[MotionSample, ...] = ()

    @property
    def start_s(self) -> float:
        return self.glimpses[0].start_s

    @property
    def end_s(self) -> float:
        return self.glimpses[-1].end_s
