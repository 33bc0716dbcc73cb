"""A drawn street with dark walkers, which are slow, and bright cars, which are fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmstream.encoders.expectation_net import HIDDEN, LAYERS, TrainedNet
from mmstream.types import Float32, Frame, Window

SHAPE = (48, 96)
GRID = (45, 90)
SLOW, FAST = 2.0, 12.0
"""Thousandths of the picture's width per 0.1 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    kind: str
    x: float
    """Centre, px."""
    speed: float

    def __post_init__(self) -> None:
        assert self.kind in ("walker", "car")


def make_frame(start_s: float, *things: Thing, motion: bool = True) -> Frame:
    """Things stand on row 30: walkers 8 px wide, 14 tall and dark, cars 16 x 10 and bright."""
    luma = np.full(SHAPE, 120, np.uint8)
    luma += np.random.default_rng(round(start_s * 10)).integers(0, 4, SHAPE, np.uint8)
    field = np.zeros((*GRID, 2), np.float32)
    for thing in things:
        width, height, level = (8, 14, 40) if thing.kind == "walker" else (16, 10, 220)
        left, right = max(0, round(thing.x - width / 2)), round(thing.x + width / 2)
        luma[30 - height : 30, left:right] = level
        scale = GRID[1] / SHAPE[1]
        field[round((30 - height) * scale) : round(30 * scale), round(left * scale) : round(right * scale), 0] = (
            thing.speed
        )
    return Frame(
        feed_id="street",
        start_s=start_s,
        end_s=start_s + 0.2,
        is_key=False,
        luma=luma,
        motion=field if motion else None,
    )


def make_street(count: int) -> Iterator[Frame]:
    """Normal pictures, 5 a second: a walker and a car, each at its own pace."""
    generator = np.random.default_rng(0)
    for number in range(count):
        slow, fast = generator.uniform(0.7, 1.3, 2)
        yield make_frame(
            number * 0.2,
            Thing(kind="walker", x=(number * 1.3) % 96, speed=SLOW * slow),
            Thing(kind="car", x=(number * 9.7 + 40) % 96, speed=FAST * fast),
        )


def make_window(*things: Thing) -> Window:
    """One second after the training, in which things hardly get on."""
    frames = tuple(make_frame(1000.0 + number * 0.2, *things) for number in range(6))
    return Window(feed_id="street", start_s=1000.0, end_s=1001.2, frames=frames)


def make_net() -> TrainedNet:
    """Weights by chance: for what needs a net and does not mind what it knows."""
    generator = np.random.default_rng(0)
    shapes = {f"layer{n}": (layer.channels, layer.channels_in * layer.size**2) for n, layer in enumerate(LAYERS)}
    arrays: dict[str, Float32] = {}
    for name, shape in {**shapes, "hidden": (HIDDEN, LAYERS[-1].channels + 1), "out": (2, HIDDEN)}.items():
        arrays[f"{name}.w"] = generator.normal(0.0, 0.1, shape).astype(np.float32)
        arrays[f"{name}.b"] = np.zeros(shape[0], np.float32)
    return TrainedNet(arrays=arrays, background=np.full(SHAPE, 120, np.uint8), start_s=0.0, end_s=60.0, num_frames=300)


EDGE_OPTIONS: dict[str, dict[str, Any]] = {"expectation": {"weights": make_net()}}
"""What encoders that say nothing by themselves are made with, to be held to the contract."""
