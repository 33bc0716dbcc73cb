"""A storage yard at night in infrared: lamp pools, a fox, a guard with a torch. ``lights_out``."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmstream.sources.synthetic import sound
from mmstream.sources.synthetic.drawing import DARKEST, Canvas, Sheet, Sprite, sprite_of, weather
from mmstream.sources.synthetic.figures import GUARD_LOOK, NUM_PHASES, fox, walker
from mmstream.sources.synthetic.scene import STEP_S, RenderedScene, SensorNoise
from mmstream.types import Float32, Float64, UInt8

LAMP_X_PX = (118.0, 326.0, 540.0)
LAMP_Y_PX, POOL_Y_PX = 66.0, 248.0
FADE_S = 0.3
DARK_SIGMA = 4.0
FOX_PX_S, GUARD_PX_S = 36.0, 21.0


class YardTrack(sound.SoundTrack):
    """Wind that rises and falls, crickets, now and then a rattling sheet of metal."""

    def __init__(self, seed: Sequence[int]) -> None:
        super().__init__(seed)
        self._wind = sound.ColouredNoise(self.rng, sound.pink(50, 500), 0.022)
        self._leaves = sound.ColouredNoise(self.rng, sound.band(900, 3500), 0.004)
        self._gusts = sound.Swell(self.rng, 4.0)
        self._chorus = sound.Swell(self.rng, 3.0, fastest_s=9.0)

    def _bed(self, times_s: Float64) -> Float64:
        gust = self._gusts(times_s)
        return gust * (self._wind.take(len(times_s)) + self._leaves.take(len(times_s)) * gust)

    def _singles(self, second: float) -> Iterable[tuple[float, Float64]]:
        loudness = 0.03 * float(self._chorus(np.array([second]))[0])
        for _ in range(int(self.rng.poisson(2.6))):
            level = loudness * float(self.rng.uniform(0.35, 1.0))
            yield second + float(self.rng.random()), sound.chirps(self.rng, level=level)
        if self.rng.random() < 0.05:
            yield (
                second + float(self.rng.random()),
                sound.knock(self.rng, level=0.05 * float(self.rng.uniform(0.5, 1.5))),
            )


@dataclass(eq=False)
class Visitor:
    kind: str
    eastward: bool
    x_px: float
    y_px: float
    speed_px_s: float


class Yard(RenderedScene):
    name: ClassVar[str] = "yard"
    label: ClassVar[str] = "CAM 04  YARD  IR"
    event_kinds: ClassVar[tuple[str, ...]] = ("lights_out",)
    noise_sigma: ClassVar[float] = 2.0

    def __init__(self, *, seed: int, start_clock_s: float = 0.0, size: tuple[int, int] = (640, 360)) -> None:
        super().__init__(seed=seed, start_clock_s=start_clock_s, size=size)
        self._light = light_map(self.scale)
        self._dark_noise = SensorNoise(self._rng, size, DARK_SIGMA)
        self._visitors: list[Visitor] = []
        self._next_s = {"fox": float(self._rng.uniform(2, 25)), "guard": float(self._rng.uniform(8, 45))}
        self._moths = self._rng.uniform(0.0, 2 * math.pi, (7, 4))

    def _make_track(self, seed: Sequence[int]) -> sound.SoundTrack:
        return YardTrack(seed)

    def _step(self) -> None:
        for visitor in self._visitors:
            visitor.x_px += (visitor.speed_px_s if visitor.eastward else -visitor.speed_px_s) * STEP_S
        self._visitors = [v for v in self._visitors if -70 <= v.x_px <= 710]
        for kind, (shortest_s, longest_s) in (("fox", (20, 45)), ("guard", (40, 65))):
            if self.now_s >= self._next_s[kind]:
                self._next_s[kind] = self.now_s + float(self._rng.uniform(shortest_s, longest_s))
                self._enter(kind)

    def _enter(self, kind: str) -> None:
        eastward = bool(self._rng.random() < 0.5)
        lowest, highest = (210, 335) if kind == "fox" else (262, 312)
        speed = (FOX_PX_S if kind == "fox" else GUARD_PX_S) * float(self._rng.uniform(0.85, 1.15))
        self._visitors.append(
            Visitor(kind, eastward, -60.0 if eastward else 700.0, float(self._rng.uniform(lowest, highest)), speed)
        )

    def darkness(self) -> float:
        """0 while the lamps burn, 1 in the middle of `lights_out`."""
        event = self.happening("lights_out")
        if event is None:
            return 0.0
        return max(0.0, min(1.0, (self.now_s - event.start_s) / FADE_S, (event.end_s - self.now_s) / FADE_S))

    def _paint_background(self) -> UInt8:
        return _ground(self.scale, 0.0)

    def _draw(self, canvas: Canvas) -> None:
        darkness = self.darkness()
        if darkness > 0.0:
            canvas.pixels[...] = _ground(self.scale, round(darkness, 1))
        for visitor in sorted(self._visitors, key=lambda v: v.y_px):
            self._draw_visitor(canvas, visitor, darkness)
        if darkness < 0.5:
            self._draw_moths(canvas)
        if darkness > 0.0:  # the camera turns its gain up: this comes on top of its usual noise
            self._dark_noise.add(canvas.pixels)

    def _draw_visitor(self, canvas: Canvas, visitor: Visitor, darkness: float) -> None:
        x, y = visitor.x_px, visitor.y_px
        row = min(int(y * self.scale), self._light.shape[0] - 1)
        column = min(max(int(x * self.scale), 0), self._light.shape[1] - 1)
        shade = round(0.2 + 1.0 * float(self._light[row, column]) * (1.0 - darkness), 2)
        phase = int(x / 5.0) % NUM_PHASES
        if visitor.kind == "fox":
            canvas.put(fox(phase, visitor.eastward, self.scale), x, y, shade=shade)
            return
        ahead = 58.0 if visitor.eastward else -58.0
        wave = 9.0 * math.sin(self.now_s * 1.3)
        canvas.put(_torch(self.scale), x + ahead + wave, y + 2.0)
        canvas.put(walker(GUARD_LOOK, phase, visitor.eastward, 1.0, self.scale, False), x, y, shade=max(shade, 0.4))

    def _draw_moths(self, canvas: Canvas) -> None:
        for k, (a, b, c, d) in enumerate(self._moths.tolist()):
            t = self.now_s
            x = LAMP_X_PX[k % 3] + 17 * math.sin(1.7 * t + a) + 9 * math.sin(4.1 * t + b)
            y = LAMP_Y_PX + 12 + 11 * math.sin(2.3 * t + c) + 8 * math.sin(3.7 * t + d)
            canvas.put(_moth(self.scale), x, y)


@functools.cache
def _torch(scale: float) -> Sprite:
    sheet = Sheet(120, 60, scale=scale, oversample=2)
    sheet.ellipse(60, 30, 34, 13, (226, 226, 226, 90))
    sheet.blur(5.0)
    return sprite_of(sheet, anchor_x=60, anchor_y=30)


@functools.cache
def _moth(scale: float) -> Sprite:
    sheet = Sheet(6, 6, scale=scale)
    sheet.ellipse(3, 3, 1.5, 1.2, (228, 228, 228))
    return sprite_of(sheet, anchor_x=3, anchor_y=3)


@functools.cache
def light_map(scale: float) -> Float32:
    """(H, W), 0..1: how much of the lamps' light falls where."""
    rows, columns = np.mgrid[0 : round(360 * scale), 0 : round(640 * scale)] / scale
    light = np.full(rows.shape, 0.24)
    for lamp_x in LAMP_X_PX:
        pool = ((columns - lamp_x) / 82.0) ** 2 + ((rows - POOL_Y_PX) / 60.0) ** 2
        light += 0.70 * np.exp(-pool)
        halo = (columns - lamp_x) ** 2 + (rows - LAMP_Y_PX) ** 2
        light += 0.55 * np.exp(-halo / 26.0**2) + 0.30 * np.exp(-halo / 100.0**2)
    return np.minimum(light, 1.0).astype(np.float32)


@functools.cache
def _ground(scale: float, darkness: float) -> UInt8:
    """RGB with three equal colours: an infrared picture has no chroma."""
    light = light_map(scale) * (1.0 - darkness) + 0.09 * darkness
    lit = _albedo(scale)[..., :1].astype(np.float32) * light[..., None]
    lamps = _lamp_heads(scale)[..., :1] * np.float32(1.0 - darkness)
    grey = np.clip(np.maximum(lit, lamps), DARKEST + 4, 229).astype(np.uint8)
    return np.repeat(grey, 3, axis=2)


@functools.cache
def _lamp_heads(scale: float) -> UInt8:
    sheet = Sheet(640, 360, scale=scale, oversample=2, ground=(0, 0, 0))
    for x in LAMP_X_PX:
        sheet.ellipse(x, LAMP_Y_PX, 8, 4, (240, 240, 240))
    return sheet.pixels()


@functools.cache
def _albedo(scale: float) -> UInt8:
    sheet = Sheet(640, 360, scale=scale, oversample=2, ground=(168, 168, 168))
    sheet.rectangle(0, 0, 640, 120, (60, 60, 60))
    for x in range(-140, 760, 12):  # chain-link fence before the dark
        sheet.line([(x, 64), (x + 70, 160)], (128, 128, 128), 0.8)
        sheet.line([(x + 70, 64), (x, 160)], (128, 128, 128), 0.8)
    for y in (64, 158):
        sheet.rectangle(0, y, 640, 3, (170, 170, 170))
    for x in range(14, 640, 76):
        sheet.rectangle(x, 60, 4, 104, (150, 150, 150))
    for x, y, w, h, tone in (
        (6, 104, 96, 66, 150),
        (196, 114, 92, 58, 118),
        (410, 106, 88, 64, 168),
        (588, 112, 60, 58, 104),
    ):
        _container(sheet, x, y, w, h, tone)
    for lamp_x in LAMP_X_PX:
        sheet.rectangle(lamp_x - 2, LAMP_Y_PX, 4, 112, (96, 96, 96))
        sheet.rectangle(lamp_x - 9, LAMP_Y_PX - 6, 18, 5, (120, 120, 120), radius=2)
    for y, tone in ((214, 150), (300, 148)):
        sheet.line([(0, y), (640, y + 16)], (tone, tone, tone), 9)
    for x in range(30, 640, 90):
        sheet.rectangle(x, 336, 44, 3, (226, 226, 226))
    return weather(weather(sheet.picture(), strength=9.0, grain_px=26, seed=41), strength=6.0, grain_px=3, seed=42)


def _container(sheet: Sheet, x: float, y: float, w: float, h: float, tone: int) -> None:
    sheet.rectangle(x + 4, y + h - 4, w + 6, 12, (40, 40, 40, 150))
    sheet.rectangle(x, y, w, h, (tone, tone, tone))
    sheet.rectangle(x, y, w, 9, (tone + 40, tone + 40, tone + 40))
    for rib in range(6, int(w) - 2, 8):
        sheet.rectangle(x + rib, y + 10, 2, h - 12, (tone - 30, tone - 30, tone - 30))
