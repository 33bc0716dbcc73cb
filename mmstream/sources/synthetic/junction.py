"""Two roads cross by day: cars and buses obey the lights, people cross; ``wrong_way`` does not."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmstream.sources.synthetic import sound
from mmstream.sources.synthetic.drawing import Canvas, Sheet, Sprite, sprite_of, weather
from mmstream.sources.synthetic.figures import LOOKS, NUM_PHASES, from_above
from mmstream.sources.synthetic.scene import STEP_S, RenderedScene
from mmstream.sources.synthetic.traffic import (
    CENTRE_X_PX,
    CENTRE_Y_PX,
    HALF_CYCLE_S,
    HALF_ROAD_PX,
    LANE_OFFSET_PX,
    Lane,
    light,
)
from mmstream.sources.synthetic.vehicles import CAR_COLOURS, INTRUDER_COLOUR, bus, car, whole_turn
from mmstream.types import Float64, UInt8

INTRUDER_SPEED_PX_S = 145.0
BUSY_PERIOD_S = 70.0
PAVEMENT_PX = 60.0
"""From the middle of a road to where people walk beside it."""
_LAMPS = {"green": (60, 220, 110), "amber": (241, 184, 46), "red": (236, 56, 44)}


class JunctionTrack(sound.SoundTrack):
    """Traffic hum, and vehicles that roll past somewhere near."""

    def __init__(self, seed: Sequence[int]) -> None:
        super().__init__(seed)
        self._hum = sound.ColouredNoise(self.rng, sound.pink(60, 900), 0.035)
        self._air = sound.ColouredNoise(self.rng, sound.pink(400, 5000), 0.008)
        self._swell = sound.Swell(self.rng, 2.0)

    def _bed(self, times_s: Float64) -> Float64:
        n = len(times_s)
        return self._hum.take(n) * self._swell(times_s) + self._air.take(n)

    def _singles(self, second: float) -> Iterable[tuple[float, Float64]]:
        for _ in range(int(self.rng.poisson(0.45))):
            duration_s = float(self.rng.uniform(1.8, 4.5))
            level = 0.05 * 10 ** float(self.rng.normal(0.0, 0.15))
            high_hz = float(self.rng.uniform(1200, 3200))
            yield (
                second + float(self.rng.random()),
                sound.swish(self.rng, duration_s=duration_s, low_hz=90, high_hz=high_hz, level=level),
            )


@dataclass(eq=False)
class Pedestrian:
    """Walks along a pavement and over one crossing, when its light lets it."""

    look: int
    heading_deg: int
    across_px: float
    """Where the pavement lies, from the middle of the road that runs along with it."""
    speed_px_s: float
    along_px: float
    """From the middle of the junction, negative before it."""

    def step(self, at_s: float) -> None:
        ahead_px = -(HALF_ROAD_PX + 10.0) - self.along_px
        # a person needs about 6 s to cross: start only in the first seconds of the green
        walk = light(self.heading_deg, at_s) == "green" and light(self.heading_deg, at_s + 4.0) == "green"
        if not walk and 0.0 <= ahead_px < self.speed_px_s * STEP_S:
            return
        self.along_px += self.speed_px_s * STEP_S

    def place(self) -> tuple[float, float]:
        angle = math.radians(self.heading_deg)
        cos, sin = round(math.cos(angle)), round(math.sin(angle))
        return (
            CENTRE_X_PX + self.along_px * cos - self.across_px * sin,
            CENTRE_Y_PX + self.along_px * sin + self.across_px * cos,
        )


class Junction(RenderedScene):
    name: ClassVar[str] = "junction"
    label: ClassVar[str] = "CAM 01  JUNCTION"
    event_kinds: ClassVar[tuple[str, ...]] = ("wrong_way",)
    noise_sigma: ClassVar[float] = 1.4

    def __init__(self, *, seed: int, start_clock_s: float = 0.0, size: tuple[int, int] = (640, 360)) -> None:
        super().__init__(seed=seed, start_clock_s=start_clock_s, size=size)
        self._lanes = [Lane(0, 0.17), Lane(90, 0.10), Lane(180, 0.17), Lane(270, 0.10)]
        self._people: list[Pedestrian] = []
        self._phase_s = float(self._rng.uniform(0.0, BUSY_PERIOD_S))
        self._light_s = float(self._rng.uniform(0.0, 2 * HALF_CYCLE_S))
        for k in range(600, 0, -1):  # a minute before the start: the roads are full when the camera opens
            self.now_s = -k * STEP_S
            self._step()

    def _make_track(self, seed: Sequence[int]) -> sound.SoundTrack:
        return JunctionTrack(seed)

    def _step(self) -> None:
        busy = 1.0 + 0.7 * math.sin(2 * math.pi * (self.now_s + self._phase_s) / BUSY_PERIOD_S)
        for lane in self._lanes:
            lane.step(self.now_s + self._light_s, STEP_S, busy, self._rng)
        for person in self._people:
            person.step(self.now_s + self._light_s)
        self._people = [p for p in self._people if p.along_px < 360.0]
        if self._rng.random() < 0.16 * busy * STEP_S and len(self._people) < 14:
            self._people.append(self._new_person())

    def _new_person(self) -> Pedestrian:
        side = 1.0 if self._rng.random() < 0.5 else -1.0
        return Pedestrian(
            look=int(self._rng.integers(len(LOOKS))),
            heading_deg=90 * int(self._rng.integers(4)),
            across_px=side * (PAVEMENT_PX + float(self._rng.uniform(-3.0, 6.0))),
            speed_px_s=float(self._rng.uniform(13.0, 19.0)),
            along_px=-360.0,
        )

    def _paint_background(self) -> UInt8:
        return _street(self.scale)

    def _draw(self, canvas: Canvas) -> None:
        phase = int(self.now_s * 6.0)
        for person in self._people:
            x, y = person.place()
            canvas.put(from_above(LOOKS[person.look], person.heading_deg, phase % NUM_PHASES, self.scale), x, y)
        intruder_x = self._intruder_x()
        for lane in self._lanes:
            for vehicle in lane.vehicles:
                x, y, heading_deg = vehicle.path.at(vehicle.along_px)
                if lane.heading_deg == 0 and intruder_x is not None and heading_deg == 0.0:
                    # oncoming drivers hug the kerb to let the madman pass
                    y += 15.0 * max(0.0, 1.0 - max(0.0, abs(intruder_x - x) - 60.0) / 130.0)
                turn = whole_turn(heading_deg)
                is_bus = vehicle.colour < 0
                canvas.put(
                    bus(turn, self.scale) if is_bus else car(CAR_COLOURS[vehicle.colour], turn, self.scale), x, y
                )
        if intruder_x is not None:
            canvas.put(car(INTRUDER_COLOUR, 180, self.scale), intruder_x, CENTRE_Y_PX + 9.0)
        self._draw_lights(canvas)

    def _intruder_x(self) -> float | None:
        """It enters from the right on the lane of those who come from the left, and again every crossing."""
        event = self.happening("wrong_way")
        if event is None:
            return None
        run_px = 640.0 + 80.0
        return 680.0 - (self.now_s - event.start_s) * INTRUDER_SPEED_PX_S % run_px

    def _draw_lights(self, canvas: Canvas) -> None:
        reach = HALF_ROAD_PX + 10.0
        corners = {
            0: (-reach - 22, reach),
            180: (reach + 22, -reach),
            90: (-reach, -reach - 22),
            270: (reach, reach + 22),
        }
        for heading_deg, (dx, dy) in corners.items():
            lamp = _lamp(light(heading_deg, self.now_s + self._light_s), self.scale)
            canvas.put(lamp, CENTRE_X_PX + dx, CENTRE_Y_PX + dy)


@functools.cache
def _lamp(colour: str, scale: float) -> Sprite:
    sheet = Sheet(24, 24, scale=scale)
    sheet.ellipse(12, 12, 9, 9, (*_LAMPS[colour], 70))
    sheet.blur(2.0)
    sheet.rectangle(6, 6, 12, 12, (28, 30, 32), radius=3)
    sheet.ellipse(12, 12, 4.2, 4.2, _LAMPS[colour])
    return sprite_of(sheet, anchor_x=12, anchor_y=12)


@functools.cache
def _street(scale: float) -> UInt8:
    sheet = Sheet(640, 360, scale=scale, oversample=2, ground=(112, 140, 88))
    cx, cy, half = CENTRE_X_PX, CENTRE_Y_PX, HALF_ROAD_PX
    for margin, colour in ((28.0, (176, 172, 164)), (2.5, (206, 204, 198)), (0.0, (88, 90, 94))):
        reach = half + margin
        sheet.rectangle(0, cy - reach, 640, 2 * reach, colour)
        sheet.rectangle(cx - reach, 0, 2 * reach, 360, colour)
    _markings(sheet, cx, cy, half)
    _blocks(sheet)
    return weather(weather(sheet.picture(), strength=5.0, grain_px=24, seed=11), strength=3.5, grain_px=3, seed=12)


def _markings(sheet: Sheet, cx: float, cy: float, half: float) -> None:
    white, yellow = (226, 226, 220), (222, 190, 92)
    for x in (*range(0, int(cx - half - 36), 26), *range(int(cx + half + 36), 640, 26)):
        sheet.rectangle(x, cy - 1, 14, 2, yellow)
    for y in (*range(0, int(cy - half - 36), 26), *range(int(cy + half + 36), 360, 26)):
        sheet.rectangle(cx - 1, y, 2, 14, yellow)
    for k in range(8):
        offset = -half + 5 + k * 11.4
        for side in (-1.0, 1.0):
            sheet.rectangle(cx + side * (half + 14) - 9, cy + offset, 18, 6, white)
            sheet.rectangle(cx + offset, cy + side * (half + 14) - 9, 6, 18, white)
    stop = half + 27
    sheet.rectangle(cx - stop - 3, cy + 2, 3.5, LANE_OFFSET_PX * 2 - 4, white)
    sheet.rectangle(cx + stop, cy - half + 2, 3.5, LANE_OFFSET_PX * 2 - 4, white)
    sheet.rectangle(cx - half + 2, cy - stop - 3, LANE_OFFSET_PX * 2 - 4, 3.5, white)
    sheet.rectangle(cx + 2, cy + stop, LANE_OFFSET_PX * 2 - 4, 3.5, white)


def _blocks(sheet: Sheet) -> None:
    """Houses, a car park and trees in the four corners."""
    for x, y, w, h, roof in (
        (18, 26, 150, 72, (158, 92, 76)),
        (414, 26, 96, 76, (126, 132, 142)),
        (540, 26, 82, 62, (170, 148, 116)),
        (24, 296, 116, 64, (134, 124, 120)),
        (432, 302, 190, 58, (176, 108, 84)),
    ):
        sheet.rectangle(x + 7, y + 8, w, h, (16, 22, 14, 96), radius=2)
        sheet.rectangle(x, y, w, h, roof, radius=2)
        sheet.polygon([(x, y + h), (x + w, y + h), (x + w - 14, y + h / 2), (x + 14, y + h / 2)], (16, 14, 12, 62))
        sheet.line([(x + 14, y + h / 2), (x + w - 14, y + h / 2)], (206, 196, 184), 1.2)
    rng = np.random.default_rng(5)
    for x, y in (
        (196, 60),
        (214, 100),
        (186, 318),
        (212, 286),
        (168, 292),
        (412, 284),
        (420, 128),
        (560, 112),
        (616, 118),
    ):
        radius = float(rng.uniform(13, 19))
        sheet.ellipse(x + 5, y + 6, radius, radius, (16, 22, 14, 90))
        for _ in range(9):
            dx, dy = rng.normal(0, radius * 0.36, 2)
            green = int(rng.integers(-14, 18))
            sheet.ellipse(x + dx, y + dy, radius * 0.55, radius * 0.55, (58 + green, 104 + green, 54 + green))
