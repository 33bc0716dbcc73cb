"""Keeps short bursts of what a feed shows and sounds, for the night to learn from.

A plain object in the feed's thread, given every window. It says when it wants pictures, and the decoder makes them
then: scaling a picture costs as much as looking at it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from mmstream.encoders.expectation_input import MOVING, Background, speeds_of
from mmstream.encoders.footage_mel import NUM_SAMPLES, SAMPLE_RATE_HZ, footage_mel
from mmstream.errors import StoreError
from mmstream.training.footage import BURST_WINDOWS, PICTURE_PX, Burst, Glimpse, MotionSample
from mmstream.types import Frame, PictureSpec, UInt8, Window
from mmstream.windowing import HOP_S

log = logging.getLogger(__name__)

FOOTAGE = "~footage"
"""Stands among the encoders that the decoder makes pictures for; no encoder has such a name."""
SPEC = PictureSpec(width_px=PICTURE_PX, height_px=PICTURE_PX, colour=True, rate_hz=1.0)

BUSY_EVERY_S = 60.0
"""From one burst to the next while something moves, and of a camera that is new ..."""
IDLE_EVERY_S = 600.0
"""... and while nothing does: one picture of an empty yard is like the next."""
YOUNG_BURSTS = 30
"""So many make a camera known: half an hour."""
SAMPLES_HZ = 1.0
"""Moving pictures of a burst that are kept."""
CHANGED_LEVELS, CHANGED_SHARE = 25, 1e-3
"""Something moves, or is new, where so many of the pixels are so far from the background."""
MAX_WAIT_S = 30.0
"""A sleeping camera decodes a picture in some seconds; one that sends none gives no bursts."""


class FootageRecorder:
    """`Window`s of one feed, in order -> a `Burst` now and then, given to ``keep``.

    ``busy_every_s`` and ``idle_every_s`` of `BURST_WINDOWS` windows leave no gap. ``keep`` may raise StoreError: a
    full disk costs the footage, counted in ``footage_failed``, and never the watching.
    """

    def __init__(
        self,
        feed_id: str,
        keep: Callable[[Burst], None],
        *,
        busy_every_s: float = BUSY_EVERY_S,
        idle_every_s: float = IDLE_EVERY_S,
        samples_hz: float = SAMPLES_HZ,
        background: UInt8 | None = None,
    ) -> None:
        """``background``: of the scene, where it is known; None: that of the first picture."""
        self._feed_id = feed_id
        self._keep = keep
        self._busy_every_s, self._idle_every_s = busy_every_s, idle_every_s
        self._sample_every_s = 0.95 / samples_hz  # a camera's frames come a little early or late
        self._background = Background(background) if background is not None else None
        self.background = background
        """As it is now; None before the first picture. May be read from any thread, and is never changed in place."""
        self._seen_s = self._last_s = self._began_s = float("-inf")
        self._waits_since_s: float | None = None
        self._glimpses: list[Glimpse] = []
        self._samples: list[MotionSample] = []
        self._is_failing = False
        self.wants = True
        """Whether the decoder shall make pictures of `SPEC` under the name `FOOTAGE`."""
        self.counters: dict[str, float] = {"footage_bursts": 0, "footage_failed": 0}

    def push(self, window: Window) -> None:
        """Windows overlap: each frame is looked at once, in the first window that has it."""
        if window.start_s <= self._last_s:  # the clock was set back, or the recording is played again
            self._seen_s = self._began_s = float("-inf")
            self._waits_since_s = None
        if window.start_s != self._last_s + HOP_S:
            self._glimpses, self._samples = [], []
        self._last_s = window.start_s
        picture = _picture_of(window)
        takes = self.wants and (picture is not None or bool(self._glimpses))
        new = [frame for frame in window.frames if frame.start_s > self._seen_s]
        for frame in new:
            self._look(frame, keep=takes)
        if takes:
            self._take(window, picture)
        elif self.wants:
            self._wait(window)
        elif new and self._is_due(new[-1]):
            self.wants, self._waits_since_s = True, None

    def _look(self, frame: Frame, *, keep: bool) -> None:
        """The background follows every picture; of those that move some are kept."""
        self._seen_s = frame.start_s
        self._background = self._background or Background(frame.luma)
        self.background = background = self._background.push(frame.luma)
        if not keep or (self._samples and frame.start_s < self._samples[-1].at_s + self._sample_every_s):
            return
        speeds = speeds_of(frame)
        if speeds is not None and (speeds > MOVING).any():
            sample = MotionSample(at_s=frame.start_s, luma=frame.luma, background=background, speeds=speeds)
            self._samples.append(sample)

    def _take(self, window: Window, picture: UInt8 | None) -> None:
        heard = window.samples.shape == (NUM_SAMPLES,) and window.sample_rate_hz == SAMPLE_RATE_HZ
        mel = footage_mel(window.samples) if heard else None
        self._glimpses.append(Glimpse(start_s=window.start_s, end_s=window.end_s, picture=picture, mel=mel))
        if len(self._glimpses) < BURST_WINDOWS:
            return
        burst = Burst(feed_id=self._feed_id, glimpses=tuple(self._glimpses), motion=tuple(self._samples))
        self._glimpses, self._samples = [], []
        self._began_s, self._waits_since_s = burst.start_s, None
        self.wants = self._busy_every_s <= BURST_WINDOWS * HOP_S
        self._give(burst)

    def _give(self, burst: Burst) -> None:
        try:
            self._keep(burst)
        except StoreError as error:
            self.counters["footage_failed"] += 1
            if not self._is_failing:
                log.warning("feed %s: footage could not be kept: %s", self._feed_id, error.sentence)
            self._is_failing = True
        else:
            self.counters["footage_bursts"] += 1
            self._is_failing = False

    def _wait(self, window: Window) -> None:
        """No picture has come yet. One that never does must not be asked for without end."""
        if self._waits_since_s is None:
            self._waits_since_s = window.start_s
        elif window.start_s - self._waits_since_s > MAX_WAIT_S:
            self._began_s, self.wants = window.start_s, False

    def _is_due(self, frame: Frame) -> bool:
        since_s = self._last_s - self._began_s
        if since_s < self._busy_every_s:
            return False
        is_young = self.counters["footage_bursts"] < YOUNG_BURSTS
        return since_s >= self._idle_every_s or is_young or self._changes(frame)

    def _changes(self, frame: Frame) -> bool:
        """Whether something is there that the background has not. Codecs without motion vectors show it, too."""
        assert self.background is not None
        away = np.abs(frame.luma.astype(np.int16) - self.background) > CHANGED_LEVELS
        return bool(away.mean() > CHANGED_SHARE)


def _picture_of(window: Window) -> UInt8 | None:
    """The newest that the decoder has made for the footage: the one that the window before did not have."""
    found = [frame.pictures[FOOTAGE] for frame in window.frames if FOOTAGE in frame.pictures]
    return found[-1] if found else None
