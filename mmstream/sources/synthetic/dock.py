"""A loading dock: a forklift shuttles, a lorry comes and goes, it hums and beeps. ``crash`` is only heard."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from mmstream.sources.synthetic import sound
from mmstream.sources.synthetic.drawing import Canvas, Sheet, weather
from mmstream.sources.synthetic.events import ScriptedEvent
from mmstream.sources.synthetic.figures import HI_VIS_LOOK, NUM_PHASES, from_above
from mmstream.sources.synthetic.scene import STEP_S, RenderedScene
from mmstream.sources.synthetic.vehicles import forklift, lorry, whole_turn
from mmstream.types import Float64, UInt8

WALL_Y_PX = 112.0
DOOR_X_PX = (128.0, 318.0, 512.0)
HOME_PX = (424.0, 296.0)
"""Where the pallets stand that the forklift takes to the two doors on the right."""
FORKLIFT_PX_S = 42.0
LORRY_REAR_Y_PX, LORRY_AWAY_Y_PX = 100.0, 372.0


class Leg(NamedTuple):
    """One thing that the forklift does: drive in loaded, wait, come back in reverse, wait."""

    start_s: float
    end_s: float
    kind: str
    door: int


class ForkliftPlan:
    """What the forklift does when, made as far as anyone has asked: picture and sound both read it."""

    def __init__(self, seed: Sequence[int]) -> None:
        self._rng = np.random.default_rng(seed)
        self._legs: list[Leg] = []
        self._end_s = -float(self._rng.uniform(0.0, 20.0))

    def legs(self, start_s: float, end_s: float) -> Iterable[Leg]:
        """All legs that overlap ``[start_s, end_s)``; ``start_s`` may go back at most a minute."""
        while self._end_s < end_s:
            self._add_trip()
        while self._legs and self._legs[0].end_s < end_s - 60.0:
            self._legs.pop(0)
        return [leg for leg in self._legs if leg.start_s < end_s and leg.end_s > start_s]

    def _add_trip(self) -> None:
        rng, door = self._rng, int(self._rng.integers(1, 3))
        drive_s = _route_length(door) / (FORKLIFT_PX_S * float(rng.uniform(0.9, 1.1)))
        waits_s = rng.uniform(2.5, 5.0), rng.uniform(2.5, 7.0)
        for kind, lasts_s in (("in", drive_s), ("unload", waits_s[0]), ("out", drive_s * 1.1), ("load", waits_s[1])):
            self._legs.append(Leg(self._end_s, self._end_s + float(lasts_s), kind, door))
            self._end_s += float(lasts_s)


def _route(door: int, share: float) -> tuple[float, float, float]:
    """(x, y, heading in degrees) after ``share`` of the way from the pallets to a door: a cubic Bezier curve
    that starts and ends pointing at the wall."""
    (x0, y0), (x3, y3) = HOME_PX, (DOOR_X_PX[door], WALL_Y_PX + 6.0)
    y1, y2, keep = y0 - 90.0, y3 + 90.0, 1.0 - share
    weights = keep**3, 3 * keep**2 * share, 3 * keep * share**2, share**3
    x = (weights[0] + weights[1]) * x0 + (weights[2] + weights[3]) * x3
    y = weights[0] * y0 + weights[1] * y1 + weights[2] * y2 + weights[3] * y3
    dx = 2 * keep * share * (x3 - x0)
    dy = keep**2 * (y1 - y0) + 2 * keep * share * (y2 - y1) + share**2 * (y3 - y2)
    return x, y, math.degrees(math.atan2(dy, dx)) % 360.0


@functools.cache
def _route_length(door: int) -> float:
    points = [_route(door, k / 32)[:2] for k in range(33)]
    return sum(math.dist(a, b) for a, b in itertools.pairwise(points))


def forklift_at(leg: Leg, at_s: float) -> tuple[float, float, float, bool]:
    """(x, y, heading in degrees, loaded)."""
    done = (at_s - leg.start_s) / (leg.end_s - leg.start_s)
    eased = done * done * (3.0 - 2.0 * done)
    share = {"in": eased, "unload": 1.0, "out": 1.0 - eased, "load": 0.0}[leg.kind]
    loaded = leg.kind == "in" or (leg.kind == "unload" and done < 0.5) or (leg.kind == "load" and done > 0.5)
    return (*_route(leg.door, share), loaded)


class DockTrack(sound.SoundTrack):
    """Ventilation, the forklift's reversing beeps, wheels over the dock plate, dull knocks, and crashes."""

    def __init__(self, seed: Sequence[int], plan: ForkliftPlan, events: Sequence[ScriptedEvent]) -> None:
        super().__init__(seed)
        self._plan, self._events = plan, events
        self._air = sound.ColouredNoise(self.rng, sound.pink(80, 1500), 0.026)
        self._hiss = sound.ColouredNoise(self.rng, sound.pink(1000, 6000), 0.006)
        self._swell = sound.Swell(self.rng, 1.2)

    def _bed(self, times_s: Float64) -> Float64:
        hum = sum(
            a * np.sin(2 * np.pi * f * times_s) for f, a in ((50, 0.010), (100, 0.012), (150, 0.005), (300, 0.003))
        )
        return hum + self._air.take(len(times_s)) * self._swell(times_s) + self._hiss.take(len(times_s))

    def _singles(self, second: float) -> Iterable[tuple[float, Float64]]:
        for leg in self._plan.legs(second, second + 1.0):
            yield from self._of_leg(leg, second)
        for _ in range(int(self.rng.poisson(0.07))):
            level = 0.07 * 10 ** float(self.rng.normal(0.0, 0.2))
            yield second + float(self.rng.random()), sound.knock(self.rng, level=level)
        for event in self._events:
            if event.kind == "crash":
                yield from self._crashes(event, second)

    def _of_leg(self, leg: Leg, second: float) -> Iterable[tuple[float, Float64]]:
        if leg.kind == "out":
            for k in range(int((leg.end_s - leg.start_s) / 0.8)):
                start_s = leg.start_s + 0.8 * k
                if second <= start_s < second + 1.0:
                    yield start_s, sound.beep(1250.0, duration_s=0.38, level=0.05)
        rolls_s = {"in": leg.end_s - 1.3, "out": leg.start_s}.get(leg.kind, -1.0)
        if second <= rolls_s < second + 1.0:
            yield rolls_s, sound.rollers(self.rng, duration_s=1.4, level=0.05 * float(self.rng.uniform(0.8, 1.25)))
        puts_down_s = (leg.start_s + leg.end_s) / 2
        if leg.kind in ("load", "unload") and second <= puts_down_s < second + 1.0:
            yield puts_down_s, sound.knock(self.rng, level=0.10 * float(self.rng.uniform(0.7, 1.3)))

    def _crashes(self, event: ScriptedEvent, second: float) -> Iterable[tuple[float, Float64]]:
        """Three blows within three seconds, as far as the event lasts."""
        for after_s, level in ((0.0, 0.55), (1.3, 0.45), (2.7, 0.40)):
            start_s = event.start_s + after_s
            if second <= start_s < second + 1.0 and start_s < event.end_s:
                yield start_s, sound.crash(self.rng, level=level)


class LorryPlan:
    """Away, backing up to the left door, standing, leaving; for ever."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._turn = 0
        self._start_s, self._end_s = -20.0, -20.0 + float(rng.uniform(0.0, 40.0))

    def rear_y(self, at_s: float) -> float | None:
        """Where its rear is now; None while it is away. Times may only grow."""
        while at_s >= self._end_s:
            self._turn = (self._turn + 1) % 4
            shortest, longest = ((8, 18), (9, 11), (16, 28), (7, 9))[self._turn]
            self._start_s, self._end_s = self._end_s, self._end_s + float(self._rng.uniform(shortest, longest))
        done = (at_s - self._start_s) / (self._end_s - self._start_s)
        away_px = LORRY_AWAY_Y_PX - LORRY_REAR_Y_PX
        share = (None, (1.0 - done) ** 2, 0.0, done**2)[self._turn]
        return None if share is None else LORRY_REAR_Y_PX + away_px * share


@dataclass(eq=False)
class Worker:
    x_px: float
    y_px: float
    eastward: bool
    speed_px_s: float


class Dock(RenderedScene):
    name: ClassVar[str] = "dock"
    label: ClassVar[str] = "CAM 03  LOADING DOCK"
    event_kinds: ClassVar[tuple[str, ...]] = ("crash",)
    noise_sigma: ClassVar[float] = 1.6

    def __init__(self, *, seed: int, start_clock_s: float = 0.0, size: tuple[int, int] = (640, 360)) -> None:
        super().__init__(seed=seed, start_clock_s=start_clock_s, size=size)
        self._lorry = LorryPlan(self._rng)
        self._workers: list[Worker] = []

    def _make_track(self, seed: Sequence[int]) -> sound.SoundTrack:
        # two readers of one plan would forget legs that the slower one still needs: one copy each
        self._forklift = ForkliftPlan([*seed, 9])
        return DockTrack(seed, ForkliftPlan([*seed, 9]), self.events)

    def _step(self) -> None:
        for worker in self._workers:
            worker.x_px += (worker.speed_px_s if worker.eastward else -worker.speed_px_s) * STEP_S
        self._workers = [w for w in self._workers if -20 <= w.x_px <= 660]
        if self._rng.random() < 0.05 * STEP_S and len(self._workers) < 3:
            eastward = bool(self._rng.random() < 0.5)
            y, speed = float(self._rng.uniform(316, 344)), float(self._rng.uniform(20, 27))
            self._workers.append(Worker(-15.0 if eastward else 655.0, y, eastward, speed))

    def _paint_background(self) -> UInt8:
        return _yard_and_wall(self.scale)

    def _draw(self, canvas: Canvas) -> None:
        phase = int(self.now_s * 7.0) % NUM_PHASES
        for worker in self._workers:
            drawn = from_above(HI_VIS_LOOK, 0 if worker.eastward else 180, phase, self.scale)
            canvas.put(drawn, worker.x_px, worker.y_px)
        for leg in self._forklift.legs(self.now_s, self.now_s + 1e-6):
            x, y, heading_deg, loaded = forklift_at(leg, self.now_s)
            canvas.put(forklift(whole_turn(heading_deg), loaded, self.scale), x, y)
        rear_y = self._lorry.rear_y(self.now_s)
        if rear_y is not None:
            canvas.put(lorry(self.scale), DOOR_X_PX[0], rear_y)


@functools.cache
def _yard_and_wall(scale: float) -> UInt8:
    sheet = Sheet(640, 360, scale=scale, oversample=2, ground=(150, 150, 146))
    for x in range(0, 640, 128):
        sheet.rectangle(x, WALL_Y_PX, 1.5, 260, (132, 132, 128))
    for y in (200, 290):
        sheet.rectangle(0, y, 640, 1.5, (132, 132, 128))
    _wall(sheet)
    yellow = (220, 184, 60)
    for centre in DOOR_X_PX:
        for side in (-48, 45):
            sheet.rectangle(centre + side, WALL_Y_PX + 4, 3.5, 96, yellow)
            sheet.ellipse(centre + side + 4, WALL_Y_PX + 14, 6, 6, (20, 20, 20, 90))
            sheet.ellipse(centre + side + 2, WALL_Y_PX + 11, 5.5, 5.5, (226, 190, 44))
            sheet.ellipse(centre + side + 1, WALL_Y_PX + 9.5, 3, 3, (40, 40, 40))
    for k in range(16):  # the hatched walkway along the bottom
        sheet.polygon([(k * 42, 352), (k * 42 + 14, 352), (k * 42 + 26, 358), (k * 42 + 12, 358)], yellow)
    sheet.rectangle(0, 306, 640, 2, (206, 204, 196))
    _pallets(sheet)
    rng = np.random.default_rng(31)
    for _ in range(16):  # oil and tyre marks
        spot_x, spot_y = float(rng.uniform(60, 600)), float(rng.uniform(140, 300))
        sheet.ellipse(spot_x, spot_y, float(rng.uniform(6, 26)), float(rng.uniform(3, 9)), (60, 58, 54, 26))
    return weather(weather(sheet.picture(), strength=5.0, grain_px=30, seed=32), strength=3.0, grain_px=3, seed=33)


def _wall(sheet: Sheet) -> None:
    sheet.rectangle(0, 0, 640, WALL_Y_PX, (168, 176, 182))
    for x in range(0, 640, 10):
        sheet.rectangle(x, 18, 1.4, WALL_Y_PX - 18, (154, 162, 169))
    sheet.rectangle(0, 0, 640, 26, (70, 96, 120))
    sheet.rectangle(0, 26, 640, 3, (50, 70, 90))
    sheet.rectangle(0, WALL_Y_PX, 640, 12, (20, 22, 24, 80))
    for k, centre in enumerate(DOOR_X_PX):
        sheet.rectangle(centre - 46, 38, 92, WALL_Y_PX - 38, (44, 46, 50), radius=2)
        inside = (96, 88, 70) if k else (196, 200, 202)
        sheet.rectangle(centre - 39, 45, 78, WALL_Y_PX - 45, inside)
        for slat in range(48, 112 if k == 0 else 60, 7):
            sheet.rectangle(centre - 39, slat, 78, 1.4, (150, 154, 158))
        if k:
            sheet.rectangle(centre - 39, 60, 78, 18, (58, 54, 48))
            sheet.rectangle(centre - 30, 64, 22, 34, (150, 116, 72))
            sheet.rectangle(centre + 4, 70, 26, 28, (166, 132, 86))
        sheet.rectangle(centre - 46, WALL_Y_PX - 4, 92, 8, (112, 114, 116))
        sheet.rectangle(centre + 56, 44, 20, 20, (232, 232, 226), radius=2)
        sheet.text(centre + 62, 45, str(k + 1), (40, 44, 50), 15)
    for vent_x in (222, 418):
        sheet.rectangle(vent_x - 16, 44, 32, 22, (140, 146, 150), radius=2)
        for slat in range(47, 65, 4):
            sheet.rectangle(vent_x - 13, slat, 26, 1.4, (96, 102, 106))


def _pallets(sheet: Sheet) -> None:
    rng = np.random.default_rng(34)
    for x, y in ((564, 168), (602, 168), (564, 206), (602, 206), (564, 244), (602, 244), (602, 282)):
        sheet.rectangle(x - 12, y - 12, 34, 34, (16, 16, 16, 90), radius=2)
        sheet.rectangle(x - 17, y - 17, 34, 34, (146, 108, 64), radius=1)
        for dx in (-16, 0.5):
            for dy in (-16, 0.5):
                tone = int(rng.integers(-16, 17))
                sheet.rectangle(x + dx, y + dy, 15.5, 15.5, (186 + tone, 148 + tone, 98 + tone), radius=1)
    for x in (26, 58):
        sheet.rectangle(x - 20, 226, 28, 62, (16, 16, 16, 90), radius=3)
        sheet.rectangle(x - 24, 222, 28, 62, (60, 112, 84) if x == 26 else (70, 96, 140), radius=3)
        sheet.rectangle(x - 21, 225, 22, 27, (76, 130, 100) if x == 26 else (86, 114, 158), radius=2)
