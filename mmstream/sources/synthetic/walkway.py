"""A promenade: people stroll both ways, alone or in groups; no microphone. ``runner``, ``cyclist``."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmstream.sources.synthetic.drawing import Canvas, Sheet, Sprite, sprite_of, weather
from mmstream.sources.synthetic.figures import LOOKS, NUM_PHASES, RUNNER_LOOK, cyclist, runner, walker
from mmstream.sources.synthetic.scene import STEP_S, RenderedScene
from mmstream.sources.synthetic.sound import Silence, SoundTrack
from mmstream.types import UInt8

WALK_PX_S = 30.0
EVENT_SPEED = {"runner": 3.1, "cyclist": 3.4}
"""Times the walking speed."""
FAR_Y_PX, NEAR_Y_PX = 196.0, 318.0
HURRIED_DEPTH = 0.8
NUM_SIZES = 5
NUM_SWAYS = 12
BUSY_PERIOD_S = 55.0
EDGE_PX = 60.0


@dataclass(eq=False)
class Stroller:
    look: int
    eastward: bool
    depth: float
    """0 at the far edge of the path, 1 at the near one."""
    speed_px_s: float
    x_px: float
    stride_offset: float

    @property
    def y_px(self) -> float:
        return FAR_Y_PX + self.depth * (NEAR_Y_PX - FAR_Y_PX)

    def step(self) -> None:
        self.x_px += (self.speed_px_s if self.eastward else -self.speed_px_s) * STEP_S

    def phase(self, stride_px: float) -> int:
        return int((self.x_px + self.stride_offset) / stride_px * NUM_PHASES) % NUM_PHASES


def size_at(depth: float) -> float:
    """How large a person at that depth is drawn: a few sizes only, so that sprites can be kept."""
    step = round(depth * (NUM_SIZES - 1)) / (NUM_SIZES - 1)
    return 0.84 + 0.34 * step


class Walkway(RenderedScene):
    name: ClassVar[str] = "walkway"
    label: ClassVar[str] = "CAM 02  WALKWAY"
    has_audio: ClassVar[bool] = False
    event_kinds: ClassVar[tuple[str, ...]] = ("runner", "cyclist")
    noise_sigma: ClassVar[float] = 1.3

    def __init__(self, *, seed: int, start_clock_s: float = 0.0, size: tuple[int, int] = (640, 360)) -> None:
        super().__init__(seed=seed, start_clock_s=start_clock_s, size=size)
        self._strollers: list[Stroller] = []
        self._phase_s = float(self._rng.uniform(0.0, BUSY_PERIOD_S))
        self._sway = self._rng.uniform(0.0, 2 * math.pi, 2)
        for k in range(400, 0, -1):  # people are already there when the camera opens
            self.now_s = -k * STEP_S
            self._step()

    def _make_track(self, seed: Sequence[int]) -> SoundTrack:
        return Silence(seed)

    def _step(self) -> None:
        for stroller in self._strollers:
            stroller.step()
        self._strollers = [s for s in self._strollers if -EDGE_PX <= s.x_px <= 640 + EDGE_PX]
        busy = 1.0 + 0.75 * math.sin(2 * math.pi * (self.now_s + self._phase_s) / BUSY_PERIOD_S)
        if self._rng.random() < 0.24 * busy * STEP_S and len(self._strollers) < 16:
            self._arrive()

    def _arrive(self) -> None:
        eastward = bool(self._rng.random() < 0.5)
        depth, speed = float(self._rng.random()), WALK_PX_S * float(self._rng.uniform(0.82, 1.15))
        for k in range(int(self._rng.choice([1, 2, 3], p=[0.62, 0.28, 0.10]))):
            lag_px = k * float(self._rng.uniform(10, 24))
            self._strollers.append(
                Stroller(
                    look=int(self._rng.integers(len(LOOKS))),
                    eastward=eastward,
                    depth=float(np.clip(depth + 0.22 * k, 0.0, 1.0)),
                    speed_px_s=speed * (0.86 + 0.28 * depth),
                    x_px=-EDGE_PX + 20 - lag_px if eastward else 640 + EDGE_PX - 20 + lag_px,
                    stride_offset=float(self._rng.uniform(0, 40)),
                )
            )

    def _paint_background(self) -> UInt8:
        return _promenade(self.scale)

    def _hurried(self) -> Stroller | None:
        """The one who does not stroll: from edge to edge, and back again while the event lasts."""
        for kind, times in EVENT_SPEED.items():
            event = self.happening(kind)
            if event is not None:
                run_px = 640.0 + 2 * EDGE_PX
                done_px = WALK_PX_S * times * (self.now_s - event.start_s)
                eastward = int(done_px / run_px) % 2 == 0
                x = done_px % run_px - EDGE_PX
                return Stroller(-1, eastward, HURRIED_DEPTH, WALK_PX_S * times, x if eastward else 640.0 - x, 0.0)
        return None

    def _draw(self, canvas: Canvas) -> None:
        hurried = self._hurried()
        present = self._strollers if hurried is None else [*self._strollers, hurried]
        for person in sorted(present, key=lambda s: s.depth):
            size = size_at(person.depth)
            canvas.put(self._figure(person, size), person.x_px, person.y_px)
        for k, (x, y) in enumerate(((92.0, 352.0), (566.0, 346.0))):
            sway = math.sin(self.now_s * 1.1 + self._sway[k]) + 0.5 * math.sin(self.now_s * 2.3 + 2 * self._sway[k])
            canvas.put(_bush(k, round((sway / 1.5 + 1.0) / 2.0 * (NUM_SWAYS - 1)), self.scale), x, y)

    def _figure(self, person: Stroller, size: float) -> Sprite:
        if person.look >= 0:
            return walker(LOOKS[person.look], person.phase(46.0 * size), person.eastward, size, self.scale)
        drawn = runner if self.happening("runner") else cyclist
        return drawn(RUNNER_LOOK, person.phase(96.0), person.eastward, size, self.scale)


@functools.cache
def _bush(which: int, sway: int, scale: float) -> Sprite:
    """Foliage in front of the camera; the higher a leaf, the further the wind carries it."""
    rng = np.random.default_rng([21, which])
    sheet = Sheet(190, 110, scale=scale, oversample=3)
    lean = (sway / (NUM_SWAYS - 1) - 0.5) * 9.0
    leaves = sorted(
        rng.normal((95, 76), (30, 14), (110, 2)).clip((8, 44), (182, 104)).tolist(), key=lambda leaf: -float(leaf[1])
    )
    for i, (x, y) in enumerate(leaves):
        tone = int(rng.integers(-16, 22)) + i // 5
        leaf_x = x + lean * max(0.0, (96 - y) / 60)
        sheet.ellipse(leaf_x, y, float(rng.uniform(6, 11)), float(rng.uniform(5, 8)), (44 + tone, 88 + tone, 48 + tone))
    return sprite_of(sheet, anchor_x=95, anchor_y=92)


@functools.cache
def _promenade(scale: float) -> UInt8:
    sheet = Sheet(640, 360, scale=scale, oversample=2, ground=(124, 156, 96))
    rng = np.random.default_rng(22)
    for k in range(10):  # sky above the water
        tone = 4 * k
        sheet.rectangle(0, 9 * k, 640, 10, (158 + tone, 190 + tone // 2, 214 + tone // 4))
    sheet.polygon([(0, 92), (0, 66), (110, 50), (240, 70), (380, 46), (520, 68), (640, 54), (640, 92)], (136, 158, 150))
    sheet.rectangle(0, 90, 640, 52, (112, 148, 170))
    for _ in range(70):
        x, y = float(rng.uniform(0, 640)), float(rng.uniform(93, 138))
        sheet.rectangle(x, y, float(rng.uniform(10, 44)), 1.2, (150, 180, 196))
    sheet.rectangle(0, 138, 640, 20, (128, 158, 100))
    _paving(sheet)
    for x in range(20, 640, 100):
        sheet.rectangle(x, 132, 3.5, 30, (70, 72, 74))
    for y in (136, 147):
        sheet.rectangle(0, y, 640, 2.2, (84, 86, 88))
    for x in (150, 450):
        sheet.rectangle(x - 26, 158, 60, 5, (18, 22, 16, 90))
        sheet.rectangle(x - 26, 146, 52, 5, (146, 100, 62), radius=1)
        sheet.rectangle(x - 26, 153, 52, 4, (124, 82, 50), radius=1)
        for leg in (-22, 18):
            sheet.rectangle(x + leg, 150, 3, 13, (56, 56, 58))
    for x in (300, 604):
        sheet.rectangle(x, 62, 4, 98, (58, 62, 64))
        sheet.ellipse(x + 2, 60, 7, 8, (236, 232, 208))
    return weather(weather(sheet.picture(), strength=4.0, grain_px=20, seed=23), strength=3.0, grain_px=3, seed=24)


def _paving(sheet: Sheet) -> None:
    sheet.rectangle(0, 162, 640, 176, (196, 188, 174))
    for edge_y in (162, 334):
        sheet.rectangle(0, edge_y, 640, 5, (164, 156, 144))
    y, step = 172.0, 13.0
    rng = np.random.default_rng(25)
    while y < 332:
        offset = float(rng.uniform(0, 40))
        for k in range(-1, int(640 / (step * 2.6)) + 2):
            tone = int(rng.integers(-9, 10))
            sheet.rectangle(
                k * step * 2.6 + offset, y, step * 2.6 - 1.4, step - 1.2, (190 + tone, 181 + tone, 166 + tone)
            )
        y, step = y + step, step * 1.06
