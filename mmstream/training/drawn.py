"""Draws the scenes of `training.captioned`: small pictures of what matters of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw

from mmstream.training.captioned import Scene, Subject
from mmstream.types import Float32, UInt8

SIDE_PX = 48
_DESIGN_PX = 52
"""Positions below are in pixels of a picture of this size."""
_ZOOM = 2
_RGB = {
    "red": (214, 38, 34),
    "blue": (38, 74, 208),
    "green": (32, 150, 58),
    "yellow": (236, 208, 36),
    "white": (240, 240, 236),
    "black": (26, 26, 28),
}
_GROUND = {
    "street": (96, 96, 98),
    "yard": (150, 146, 136),
    "park": (104, 140, 76),
    "platform": (134, 128, 122),
    "hall": (186, 178, 164),
}
_TINT = {"day": (1.0, 1.0, 1.0), "dusk": (0.86, 0.72, 0.6), "night": (0.48, 0.52, 0.66)}
_SKIN = (206, 160, 130)
_GLASS = (120, 150, 170)
_TYRE = (20, 20, 20)

Colour = tuple[int, int, int]


class _Pen:
    """Draws in design pixels on an oversampled picture."""

    def __init__(self, ground: Colour) -> None:
        self.image = Image.new("RGB", (_DESIGN_PX * _ZOOM, _DESIGN_PX * _ZOOM), ground)
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def box(self, x: float, y: float, w: float, h: float, colour: Colour, *, alpha: int = 255) -> None:
        self._draw.rectangle(self._zoomed([(x, y), (x + w, y + h)]), fill=(*colour, alpha))

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, *, alpha: int = 255) -> None:
        self._draw.ellipse(self._zoomed([(x - rx, y - ry), (x + rx, y + ry)]), fill=(*colour, alpha))

    def line(self, points: Iterable[tuple[float, float]], colour: Colour, width: float) -> None:
        self._draw.line(self._zoomed(points), fill=colour, width=max(1, round(width * _ZOOM)))

    def shape(self, points: Iterable[tuple[float, float]], colour: Colour, *, alpha: int = 255) -> None:
        self._draw.polygon(self._zoomed(points), fill=(*colour, alpha))

    def pixels(self) -> Float32:
        """(48, 48, 3), 0..255."""
        return np.asarray(self.image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX), np.float32)

    @staticmethod
    def _zoomed(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * _ZOOM, y * _ZOOM) for x, y in points]


def draw(scene: Scene) -> UInt8:
    """-> RGB (48, 48, 3)."""
    layout, rng = np.random.default_rng(scene.layout), np.random.default_rng(scene.seed)
    pen = _Pen(_shade(_GROUND[scene.place], layout.uniform(0.85, 1.15)))
    horizon = layout.uniform(12, 18)
    _PLACE[scene.place](pen, layout, horizon)
    behind = sorted(_spots(rng, len(scene.subjects), horizon), key=lambda spot: spot[1])
    if scene.hazard == "smoke":
        _smoke(pen, rng, horizon)
    for subject, (x, y) in zip(scene.subjects, behind, strict=True):
        _subject(pen, rng, subject, x, y)
    tint = np.array(_TINT[scene.light], np.float32) * np.float32(rng.uniform(0.9, 1.1))
    pixels = pen.pixels() * tint
    if scene.hazard == "fire":
        pixels = _fire(pixels, rng, horizon)
    noise = rng.normal(0.0, 3.0, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def draw_all(scenes: Iterable[Scene]) -> UInt8:
    """-> RGB (N, 48, 48, 3)."""
    return np.stack([draw(scene) for scene in scenes])


def _spots(rng: np.random.Generator, count: int, horizon: float) -> list[tuple[float, float]]:
    """Feet of ``count`` subjects, side by side so that none hides another."""
    width = _DESIGN_PX / max(count, 1)
    lanes = rng.permutation(count)
    low = horizon + 20
    return [
        (lane * width + rng.uniform(0.42, 0.58) * width if count > 1 else rng.uniform(16, 36), rng.uniform(low, 48))
        for lane in lanes.tolist()
    ]


# -- places -------------------------------------------------------------------------------------------------


def _street(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    x = 0.0
    while x < _DESIGN_PX:
        width = rng.uniform(8, 18)
        pen.box(x, horizon - rng.uniform(8, 18), width, 30, _grey(rng, 110, 190, warmth=20))
        x += width
    pen.box(0, horizon, _DESIGN_PX, 4, _shade((160, 156, 150), rng.uniform(0.8, 1.1)))
    middle = rng.uniform(horizon + 10, 46)
    for dash in range(-8, 60, 14):
        pen.box(dash + rng.uniform(0, 4), middle, 7, 1.2, (220, 220, 214))


def _yard(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    pen.box(0, 0, _DESIGN_PX, horizon, _grey(rng, 150, 210, warmth=6))
    for _ in range(int(rng.integers(2, 5))):
        colour = _grey(rng, 70, 150, warmth=40)
        pen.box(rng.uniform(-6, 46), horizon - rng.uniform(6, 14), rng.uniform(8, 18), 14, colour)
    for _ in range(3):
        x = rng.uniform(0, _DESIGN_PX)
        pen.line([(x, horizon), (x + rng.uniform(-16, 16), _DESIGN_PX)], (124, 120, 112), 0.8)


def _park(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    pen.box(0, 0, _DESIGN_PX, horizon, (176, 200, 222))
    x = rng.uniform(16, 36)
    pen.shape(
        [(x - 4, horizon), (x + 4, horizon), (x + 20, _DESIGN_PX), (x - 14, _DESIGN_PX)],
        _grey(rng, 150, 190, warmth=20),
    )
    for _ in range(int(rng.integers(4, 9))):
        trunk, size = rng.uniform(0, _DESIGN_PX), rng.uniform(4, 8)
        pen.box(trunk - 0.8, horizon - 6, 1.6, 8, (92, 66, 44))
        pen.disc(trunk, horizon - 8, size, size, _shade((58, 104, 48), rng.uniform(0.7, 1.3)))


def _platform(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    pen.box(0, 0, _DESIGN_PX, horizon, _grey(rng, 70, 120, warmth=8))
    edge = horizon + rng.uniform(5, 9)
    pen.box(0, horizon, _DESIGN_PX, edge - horizon, (58, 52, 48))
    for y in (horizon + 1.5, edge - 2):
        pen.line([(0, y), (_DESIGN_PX, y)], (150, 150, 152), 0.8)
    pen.box(0, edge, _DESIGN_PX, 1.8, (222, 214, 190))
    for x in np.arange(rng.uniform(0, 14), _DESIGN_PX, rng.uniform(15, 24)).tolist():
        pen.box(x, 0, 2.2, horizon + 4, (96, 100, 104))


def _hall(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    pen.box(0, 0, _DESIGN_PX, horizon, _grey(rng, 190, 230, warmth=14))
    for x in np.arange(rng.uniform(2, 10), _DESIGN_PX, rng.uniform(13, 20)).tolist():
        pen.box(x, horizon - 12, 7, 12, _grey(rng, 110, 170, warmth=24))
    for y in np.arange(horizon, _DESIGN_PX, rng.uniform(7, 11)).tolist():
        pen.line([(0, y), (_DESIGN_PX, y)], (160, 152, 140), 0.6)


_PLACE: dict[str, Callable[[_Pen, np.random.Generator, float], None]] = {
    "street": _street,
    "yard": _yard,
    "park": _park,
    "platform": _platform,
    "hall": _hall,
}


# -- subjects -----------------------------------------------------------------------------------------------


def _subject(pen: _Pen, rng: np.random.Generator, subject: Subject, x: float, y: float) -> None:
    colour = _shade(_RGB[subject.colour], rng.uniform(0.9, 1.08))
    size, way = rng.uniform(0.9, 1.05), 1.0 if rng.random() < 0.5 else -1.0
    size *= 1.4 if subject.action else 1.0
    match subject.action or subject.kind:
        case "car":
            _car(pen, colour, x, y, size, way)
        case "bus":
            _bus(pen, colour, x, y, size)
        case "lorry":
            _lorry(pen, colour, x, y, size, way)
        case "lying":
            _lying(pen, colour, x, y, size, way)
        case "fighting":
            other = _RGB[str(rng.choice(["red", "green", "white", "black"]))]
            _fighter(pen, colour, x - 4.0 * size, y, size, 1.0)
            _fighter(pen, other, x + 4.0 * size, y, size, -1.0)
        case action:
            _person(pen, colour, x, y, size, way, stride=2.4 if action == "walking" else 6.0)


def _wheels(pen: _Pen, xs: tuple[float, ...], y: float, radius: float) -> None:
    for x in xs:
        pen.disc(x, y, radius, radius, _TYRE)


def _car(pen: _Pen, colour: Colour, x: float, y: float, s: float, way: float) -> None:
    pen.shape(
        [(x - 6 * s, y - 6 * s), (x - 3 * s, y - 11 * s), (x + 5 * s, y - 11 * s), (x + 8 * s, y - 6 * s)], colour
    )
    pen.box(x - 3 * s, y - 10 * s, 6.5 * s, 3.5 * s, _GLASS)
    pen.box(x - 11 * s, y - 7 * s, 22 * s, 5.5 * s, colour)
    pen.box(x + (9.5 if way > 0 else -11) * s, y - 6 * s, 1.5 * s, 1.5 * s, (250, 240, 180))
    _wheels(pen, (x - 6.5 * s, x + 6.5 * s), y - 1.5 * s, 2.4 * s)


def _bus(pen: _Pen, colour: Colour, x: float, y: float, s: float) -> None:
    pen.box(x - 14 * s, y - 18 * s, 28 * s, 16 * s, colour)
    for k in range(5):
        pen.box(x + (-12.5 + 5.2 * k) * s, y - 15.5 * s, 4.0 * s, 5 * s, _GLASS)
    _wheels(pen, (x - 9 * s, x + 9 * s), y - 1.8 * s, 2.5 * s)


def _lorry(pen: _Pen, colour: Colour, x: float, y: float, s: float, way: float) -> None:
    cab = x + 8.5 * s if way > 0 else x - 14 * s
    pen.box(x - (14 if way > 0 else 7.5) * s, y - 19 * s, 21.5 * s, 15.5 * s, colour)
    pen.box(cab, y - 12 * s, 5.5 * s, 9.5 * s, (176, 176, 178))
    pen.box(cab + 1.0 * s, y - 11 * s, 3.5 * s, 3.5 * s, _GLASS)
    pen.box(x - 14 * s, y - 3.5 * s, 28 * s, 1.5 * s, (50, 50, 52))
    _wheels(pen, (x - 10 * s, x - 4 * s, x + 10 * s), y - 1.6 * s, 2.2 * s)


def _person(pen: _Pen, colour: Colour, x: float, y: float, s: float, way: float, *, stride: float) -> None:
    lean = 2.2 * way * s if stride > 4 else 0.0
    hip, neck = (x, y - 8 * s), (x + lean, y - 16 * s)
    lift = 3.0 * s if stride > 4 else 0.0
    pen.line([hip, (x - way * stride * s, y - lift)], (44, 44, 56), 2.0 * s)
    pen.line([hip, (x + way * stride * s, y)], (44, 44, 56), 2.0 * s)
    pen.line([hip, neck], colour, 5.2 * s)
    reach = stride * 0.9
    pen.line([neck, (x + lean + way * reach * s, y - (13 if stride > 4 else 9) * s)], colour, 1.6 * s)
    pen.line([neck, (x + lean - way * reach * s, y - 10 * s)], colour, 1.6 * s)
    pen.disc(neck[0], y - 18.6 * s, 2.2 * s, 2.4 * s, _SKIN)


def _lying(pen: _Pen, colour: Colour, x: float, y: float, s: float, way: float) -> None:
    pen.disc(x, y, 11 * s, 1.6 * s, (40, 40, 44), alpha=90)
    pen.line([(x - 3 * way * s, y - 2 * s), (x + 5 * way * s, y - 2 * s)], colour, 5.2 * s)
    pen.line([(x - 3 * way * s, y - 2.8 * s), (x - 10 * way * s, y - 3 * s)], (44, 44, 56), 2.0 * s)
    pen.line([(x - 3 * way * s, y - 1.0 * s), (x - 10 * way * s, y - 0.6 * s)], (44, 44, 56), 2.0 * s)
    pen.line([(x + 4 * way * s, y - 3 * s), (x + 1 * way * s, y + 1.6 * s)], colour, 1.6 * s)
    pen.disc(x + 8.2 * way * s, y - 2.2 * s, 2.4 * s, 2.2 * s, _SKIN)


def _fighter(pen: _Pen, colour: Colour, x: float, y: float, s: float, way: float) -> None:
    hip, neck = (x, y - 8 * s), (x + 1.4 * way * s, y - 16 * s)
    pen.line([hip, (x - 3.4 * way * s, y)], (44, 44, 56), 2.0 * s)
    pen.line([hip, (x + 1.6 * way * s, y)], (44, 44, 56), 2.0 * s)
    pen.line([hip, neck], colour, 5.0 * s)
    pen.line([neck, (neck[0] + 6.5 * way * s, y - 19.5 * s)], _SKIN, 1.7 * s)
    pen.line([(neck[0], y - 14 * s), (neck[0] + 5.5 * way * s, y - 12.5 * s)], _SKIN, 1.7 * s)
    pen.disc(neck[0], y - 18.6 * s, 2.2 * s, 2.4 * s, _SKIN)


# -- hazards ------------------------------------------------------------------------------------------------


def _smoke(pen: _Pen, rng: np.random.Generator, horizon: float) -> None:
    x, y, grey = rng.uniform(8, 44), rng.uniform(horizon + 6, horizon + 20), rng.uniform(96, 190)
    drift = rng.uniform(-0.8, 0.8)
    while y > 2:
        size = 3.0 + 0.22 * (horizon + 18 - y)
        tone = round(float(np.clip(grey + rng.normal(0, 14), 60, 220)))
        pen.disc(x + rng.normal(0, 1.8), y, size * 1.1, size * 0.9, (tone, tone, tone), alpha=150)
        x, y = x + drift + rng.normal(0, 0.8), y - 2.4


def _fire(pixels: Float32, rng: np.random.Generator, horizon: float) -> Float32:
    """Flames shine: they are drawn after the light of the scene, with their glow around."""
    pen = _Pen((0, 0, 0))
    x, foot, wide = rng.uniform(8, 44), rng.uniform(horizon + 12, horizon + 28), rng.uniform(5, 9)
    for tone, share in (((226, 74, 16), 1.0), ((250, 150, 24), 0.68), ((255, 232, 130), 0.36)):
        for _ in range(4):
            at, tall = x + rng.uniform(-0.6, 0.6) * wide * share, rng.uniform(10, 18) * share
            half = wide * 0.55 * share
            pen.shape([(at - half, foot), (at + rng.uniform(-2, 2), foot - tall), (at + half, foot)], tone)
    flames = pen.pixels()
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX] * (_DESIGN_PX / SIDE_PX)
    glow = np.exp(-((columns - x) ** 2 + (rows - foot + 6) ** 2) / 260.0)[..., None] * np.array([70.0, 34.0, 6.0])
    covered = flames.max(2, keepdims=True) / 255.0
    return np.asarray(pixels * (1.0 - covered) + flames * np.minimum(covered * 1.4, 1.0) + glow, np.float32)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (round(min(255.0, part * factor)) for part in colour)
    return red, green, blue


def _grey(rng: np.random.Generator, low: float, high: float, *, warmth: float) -> Colour:
    tone, tilt = rng.uniform(low, high), rng.uniform(-warmth, warmth)
    return round(tone + tilt), round(tone), round(tone - tilt)
