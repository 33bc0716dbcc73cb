"""What a rendered scene is, and what all four have in common: a clock, noise, a burnt-in strip."""

from __future__ import annotations

import datetime
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np

from mmstream.sources.synthetic.drawing import Canvas, Sheet, Sprite, sprite_of
from mmstream.sources.synthetic.events import ScriptedEvent
from mmstream.sources.synthetic.sound import SoundTrack
from mmstream.types import Float32, UInt8

DESIGN_WIDTH_PX, DESIGN_HEIGHT_PX = 640, 360
FRAME_RATE_HZ = 10
STEP_S = 1.0 / FRAME_RATE_HZ


class Scene(Protocol):
    """A camera's view. ``frame`` and ``sound`` are functions of (seed, events, time) as long as each
    is called with times that only grow; each keeps its own place, so they need not alternate."""

    name: ClassVar[str]
    has_audio: ClassVar[bool]
    frame_rate_hz: ClassVar[int]
    sample_rate_hz: ClassVar[int]

    def frame(self, at_s: float) -> UInt8:
        """The picture ``at_s`` seconds after the scene's start: RGB (H, W, 3)."""
        ...

    def sound(self, start_s: float, n: int) -> Float32:
        """(n,) mono samples in [-1, 1] from ``start_s`` on; zeros when the scene has no sound."""
        ...

    def schedule(self, events: Sequence[ScriptedEvent]) -> None:
        """Add events; they must lie at least a second in the future.

        Raises:
            ValueError: the scene knows no event of that kind.
        """
        ...


class RenderedScene(ABC):
    """A scene that moves in steps of a frame. What is built stands still for every seed (it is the same
    camera); ``seed`` decides who passes and when, so another seed is another stretch of the same street."""

    name: ClassVar[str]
    label: ClassVar[str]
    has_audio: ClassVar[bool] = True
    event_kinds: ClassVar[tuple[str, ...]]
    noise_sigma: ClassVar[float] = 1.5
    frame_rate_hz: ClassVar[int] = FRAME_RATE_HZ
    sample_rate_hz: ClassVar[int] = SoundTrack.sample_rate_hz

    def __init__(self, *, seed: int, start_clock_s: float = 0.0, size: tuple[int, int] = (640, 360)) -> None:
        """``start_clock_s``: Unix seconds that the burnt-in clock shows at the start.

        Raises:
            ValueError: the size is not 16:9 with even sides.
        """
        width, height = size
        if width * DESIGN_HEIGHT_PX != height * DESIGN_WIDTH_PX or width % 2 or height % 2:
            raise ValueError(f"scene {self.name!r}: want an even 16:9 size such as (640, 360), got {size}")
        self.scale = width / DESIGN_WIDTH_PX
        self.events: list[ScriptedEvent] = []
        self.now_s = 0.0
        key = zlib.crc32(self.name.encode())
        self._rng = np.random.default_rng([seed, key, 0])
        self._noise = SensorNoise(np.random.default_rng([seed, key, 1]), size, self.noise_sigma)
        self._strip = ClockStrip(self.label, start_clock_s, self.scale)
        self._num_steps = 0
        self.track = self._make_track([seed, key, 2])
        self.background = self._paint_background()

    def schedule(self, events: Sequence[ScriptedEvent]) -> None:
        self.events[:] = [event for event in self.events if event.end_s > self.now_s - 60.0]
        for event in events:
            if event.kind not in self.event_kinds:
                raise ValueError(f"{self.name!r} has no event {event.kind!r}; want one of {self.event_kinds}")
            self.events.append(event)

    def happening(self, kind: str) -> ScriptedEvent | None:
        return next((event for event in self.events if event.kind == kind and event.covers(self.now_s)), None)

    def frame(self, at_s: float) -> UInt8:
        while self._num_steps * STEP_S < at_s + STEP_S / 2:
            self.now_s = self._num_steps * STEP_S
            self._step()
            self._num_steps += 1
        canvas = Canvas(self.background.copy(), self.scale)
        self._draw(canvas)
        self._noise.add(canvas.pixels)
        self._strip.put(canvas, self.now_s)
        return canvas.pixels

    def sound(self, start_s: float, n: int) -> Float32:
        return self.track.samples(round(start_s * self.sample_rate_hz), n)

    @abstractmethod
    def _make_track(self, seed: Sequence[int]) -> SoundTrack: ...

    @abstractmethod
    def _paint_background(self) -> UInt8:
        """RGB (H, W, 3): all that never moves."""

    @abstractmethod
    def _step(self) -> None:
        """Move everything to ``now_s``, one `STEP_S` on."""

    @abstractmethod
    def _draw(self, canvas: Canvas) -> None: ...


class SensorNoise:
    """Grey noise of the camera's sensor: one tile, cut at another place for every frame.

    Values stay within `DARKEST`, so that wrapping addition cannot wrap.
    """

    SPARE_PX = 96

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], sigma: float) -> None:
        self._rng, self._size = rng, size
        self.set_sigma(sigma)

    def set_sigma(self, sigma: float) -> None:
        width, height = self._size
        tile = self._rng.normal(0.0, sigma, (height + self.SPARE_PX, width + self.SPARE_PX))
        grey = np.clip(np.round(tile), -12, 12).astype(np.int8).view(np.uint8)
        self._tile = np.repeat(grey[..., None], 3, axis=2)

    def add(self, pixels: UInt8) -> None:
        top, left = self._rng.integers(0, self.SPARE_PX, 2)
        height, width = pixels.shape[:2]
        pixels += self._tile[top : top + height, left : left + width]


class ClockStrip:
    """The camera's name and clock, burnt in as recorders do."""

    def __init__(self, label: str, start_clock_s: float, scale: float) -> None:
        self._label, self._start_clock_s, self._scale = label, start_clock_s, scale
        self._drawn: tuple[int, Sprite] | None = None

    def put(self, canvas: Canvas, at_s: float) -> None:
        second = int(self._start_clock_s + at_s + 1e-6)
        if self._drawn is None or self._drawn[0] != second:
            self._drawn = second, self._render(second)
        canvas.put(self._drawn[1], 0, 0)

    def _render(self, second: int) -> Sprite:
        clock = datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%d  %H:%M:%S")
        sheet = Sheet(DESIGN_WIDTH_PX, 18, scale=self._scale, oversample=1, ground=(16, 16, 16, 150))
        sheet.text(8, 2, self._label, (232, 232, 232), 11)
        sheet.text(DESIGN_WIDTH_PX - 124, 2, clock, (232, 232, 232), 11)
        return sprite_of(sheet, anchor_x=0, anchor_y=0)
