"""Vehicles that follow lanes, leaders and traffic lights: the simulation behind the junction."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmstream.sources.synthetic.vehicles import BUS_LENGTH_PX, CAR_COLOURS, CAR_LENGTH_PX

CENTRE_X_PX, CENTRE_Y_PX = 320.0, 190.0
HALF_ROAD_PX, LANE_OFFSET_PX = 46.0, 23.0
STOP_BEFORE_CENTRE_PX = 78.0
SPEED_PX_S = 60.0
ACCELERATION_PX_S2, BRAKING_PX_S2 = 32.0, 70.0
GAP_PX = 12.0
GREEN_S, AMBER_S, ALL_RED_S = 9.0, 2.0, 1.0
HALF_CYCLE_S = GREEN_S + AMBER_S + ALL_RED_S


def light(heading_deg: int, at_s: float) -> str:
    """``green``, ``amber`` or ``red`` for traffic that drives along that heading."""
    offset_s = 0.0 if heading_deg % 180 == 0 else HALF_CYCLE_S
    phase_s = (at_s - offset_s) % (2 * HALF_CYCLE_S)
    return "green" if phase_s < GREEN_S else "amber" if phase_s < GREEN_S + AMBER_S else "red"


class Path:
    """A way through the picture: points in design pixels, measured along its length."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._points = points
        self._lengths = [0.0]
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            self._lengths.append(self._lengths[-1] + math.hypot(x1 - x0, y1 - y0))
        self.length_px = self._lengths[-1]

    def at(self, along_px: float) -> tuple[float, float, float]:
        """(x, y, heading in degrees clockwise from east)."""
        i = min(max(bisect.bisect_right(self._lengths, along_px) - 1, 0), len(self._points) - 2)
        (x0, y0), (x1, y1) = self._points[i], self._points[i + 1]
        share = (along_px - self._lengths[i]) / (self._lengths[i + 1] - self._lengths[i])
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0), math.degrees(math.atan2(y1 - y0, x1 - x0)) % 360.0


def lane_path(heading_deg: int, *, turning: bool) -> Path:
    """The right-hand lane along ``heading_deg``: straight on, or into the next road on the right."""
    extent = 430.0 if heading_deg % 180 == 0 else 330.0
    points = [(-extent, LANE_OFFSET_PX), (extent, LANE_OFFSET_PX)]
    if turning:
        # eight chords of a quarter circle from the kerb lane of one road into that of the other
        corner, radius = HALF_ROAD_PX, HALF_ROAD_PX - LANE_OFFSET_PX
        arc = [(math.sin(a) * radius, -math.cos(a) * radius) for a in np.linspace(0.0, math.pi / 2, 9)]
        points = [(-extent, LANE_OFFSET_PX), *((-corner + dx, corner + dy) for dx, dy in arc)]
        points.append((-LANE_OFFSET_PX, 430.0))
    angle = math.radians(heading_deg)
    cos, sin = round(math.cos(angle)), round(math.sin(angle))
    return Path([(CENTRE_X_PX + x * cos - y * sin, CENTRE_Y_PX + x * sin + y * cos) for x, y in points])


@dataclass(eq=False)
class Vehicle:
    path: Path
    stop_line_px: float
    want_px_s: float
    colour: int
    """Index into CAR_COLOURS; -1 is a bus."""
    along_px: float = 0.0
    speed_px_s: float = 0.0

    @property
    def length_px(self) -> float:
        return BUS_LENGTH_PX if self.colour < 0 else CAR_LENGTH_PX

    @property
    def front_px(self) -> float:
        return self.along_px + self.length_px / 2

    def advance(self, room_px: float, step_s: float) -> None:
        """Drive as fast as wanted while it is still possible to stop within ``room_px``."""
        target = min(self.want_px_s, math.sqrt(2.0 * BRAKING_PX_S2 * max(room_px, 0.0)))
        slowest = self.speed_px_s - 1.5 * BRAKING_PX_S2 * step_s
        fastest = self.speed_px_s + ACCELERATION_PX_S2 * step_s
        self.speed_px_s = max(0.0, min(max(target, slowest), fastest))
        self.along_px += self.speed_px_s * step_s


@dataclass(eq=False)
class Lane:
    """All vehicles that came in along one heading, the first one first."""

    heading_deg: int
    rate_hz: float
    straight: Path = field(init=False)
    turning: Path = field(init=False)
    vehicles: list[Vehicle] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.straight = lane_path(self.heading_deg, turning=False)
        self.turning = lane_path(self.heading_deg, turning=True)

    def step(self, at_s: float, step_s: float, busy: float, rng: np.random.Generator) -> None:
        """``busy`` multiplies the rate of arrivals."""
        colour_of_light = light(self.heading_deg, at_s)
        leader: Vehicle | None = None
        for vehicle in self.vehicles:
            room = math.inf
            if leader is not None:
                room = leader.along_px - leader.length_px / 2 - vehicle.front_px - GAP_PX
            to_line = vehicle.stop_line_px - vehicle.front_px
            can_stop = to_line > vehicle.speed_px_s**2 / (2.0 * BRAKING_PX_S2) - 2.0
            if colour_of_light != "green" and to_line > -4.0 and can_stop:
                room = min(room, to_line)
            vehicle.advance(room, step_s)
            leader = vehicle
        self.vehicles = [v for v in self.vehicles if v.along_px < v.path.length_px]
        if rng.random() < self.rate_hz * busy * step_s:
            self._arrive(rng)

    def _arrive(self, rng: np.random.Generator) -> None:
        last = self.vehicles[-1] if self.vehicles else None
        turning, is_bus = rng.random() < 0.22, rng.random() < 0.09
        speed = SPEED_PX_S * float(rng.uniform(0.86, 1.12)) * (0.85 if is_bus else 1.0)
        path = self.turning if turning and not is_bus else self.straight
        colour = -1 if is_bus else int(rng.integers(len(CAR_COLOURS)))
        if last is not None and last.along_px - last.length_px / 2 < BUS_LENGTH_PX:
            return  # the queue reaches out of the picture: this one is not seen
        extent = 430.0 if self.heading_deg % 180 == 0 else 330.0
        stop_line = extent - STOP_BEFORE_CENTRE_PX
        self.vehicles.append(Vehicle(path, stop_line, speed, colour, 0.0, speed * 0.8))
