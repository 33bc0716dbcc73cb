"""People and animals: from above, or walking past seen from the side."""

from __future__ import annotations

import functools
import math

from mmstream.sources.synthetic.drawing import Colour, Sheet, Sprite, sprite_of

NUM_PHASES = 8
"""Pictures in one walking cycle (two steps)."""

Look = tuple[Colour, Colour, Colour]
"""Coat, trousers, hair."""

LOOKS: tuple[Look, ...] = (
    ((188, 72, 58), (46, 52, 70), (52, 38, 28)),
    ((62, 104, 158), (70, 66, 62), (30, 26, 24)),
    ((226, 196, 96), (52, 62, 88), (120, 84, 46)),
    ((86, 128, 92), (88, 80, 70), (64, 46, 34)),
    ((212, 210, 204), (60, 72, 104), (190, 164, 110)),
    ((122, 82, 132), (40, 42, 48), (36, 30, 28)),
    ((66, 70, 78), (104, 94, 80), (150, 146, 142)),
)
RUNNER_LOOK: Look = ((238, 92, 34), (24, 26, 32), (40, 30, 24))
GUARD_LOOK: Look = ((84, 84, 84), (58, 58, 58), (48, 48, 48))
HI_VIS_LOOK: Look = ((222, 226, 60), (44, 54, 82), (232, 232, 226))
_SKIN: Colour = (214, 170, 138)
_FOOT_Y = 66.0


@functools.cache
def from_above(look: Look, heading_deg: int, phase: int, scale: float) -> Sprite:
    """Head and shoulders with swinging arms, pointing along the heading."""
    sheet = Sheet(32, 32, scale=scale)
    swing = 3.2 * math.sin(2 * math.pi * phase / NUM_PHASES)
    sheet.ellipse(16 + swing, 13, 3.4, 2.4, look[1])
    sheet.ellipse(16 - swing, 19, 3.4, 2.4, look[1])
    sheet.ellipse(16 - swing * 0.8, 8.6, 2.4, 2.0, _SKIN)
    sheet.ellipse(16 + swing * 0.8, 23.4, 2.4, 2.0, _SKIN)
    sheet.ellipse(16, 16, 4.2, 7.4, look[0])
    sheet.ellipse(16.6, 16, 3.7, 3.6, look[2])
    sheet.dapple(14.0)
    sheet.turn(heading_deg)
    sheet.cast_shadow(3, 4, blur_px=1.2, strength=0.4)
    return sprite_of(sheet, anchor_x=16, anchor_y=16)


def _limb(sheet: Sheet, hip: tuple[float, float], angle: float, bend: float, colour: Colour, reach: float) -> None:
    """Thigh and shin (or upper and lower arm), ``reach`` px each, from ``hip``; angles from straight down."""
    knee = hip[0] + reach * math.sin(angle), hip[1] + reach * math.cos(angle)
    end = knee[0] + reach * math.sin(angle - bend), knee[1] + reach * math.cos(angle - bend)
    width = 5.2 if reach > 11 else 3.8
    sheet.line([hip, knee, end], colour, width)
    for x, y in (hip, knee, end):
        sheet.ellipse(x, y, width / 2, width / 2, colour)


def _darker(colour: Colour) -> Colour:
    red, green, blue = (round(part * 0.72) for part in colour[:3])
    return red, green, blue


def _person(sheet: Sheet, x: float, look: Look, phase: int, stride: float, lean: float, skin: Colour) -> None:
    coat, trousers, hair = look
    turn = 2 * math.pi * phase / NUM_PHASES
    hip, shoulder = (x, _FOOT_Y - 26.0), (x + lean, _FOOT_Y - 45.0)
    swing = stride * math.sin(turn)
    lift = 0.25 + stride * 0.9
    _limb(sheet, shoulder, swing * 0.9, -0.3 - lean * 0.12, _darker(coat), 9.0)
    _limb(sheet, hip, -swing, lift * max(0.0, math.cos(turn)), _darker(trousers), 12.5)
    _limb(sheet, hip, swing, lift * max(0.0, -math.cos(turn)), trousers, 12.5)
    sheet.polygon(
        [
            (shoulder[0] - 6.2, shoulder[1] - 2),
            (shoulder[0] + 5.6, shoulder[1] - 2),
            (hip[0] + 5.4, hip[1] + 4),
            (hip[0] - 5.6, hip[1] + 4),
        ],
        coat,
    )
    _limb(sheet, shoulder, -swing * 0.9, -0.3 - lean * 0.12, coat, 9.0)
    sheet.ellipse(shoulder[0] + lean * 0.5 + 0.6, shoulder[1] - 8.6, 5.0, 5.8, skin)
    sheet.ellipse(shoulder[0] + lean * 0.5 - 0.8, shoulder[1] - 10.4, 5.2, 4.8, hair)


@functools.cache
def walker(look: Look, phase: int, eastward: bool, size: float, scale: float, shadow: bool = True) -> Sprite:
    """About 60 px tall at ``size`` 1, anchored between the feet."""
    sheet = Sheet(110, 74, scale=scale * size)
    _person(sheet, 34, look, phase, 0.42, 0.6, _SKIN if shadow else (168, 168, 168))
    return _stand(sheet, 34, eastward, shadow=shadow)


@functools.cache
def runner(look: Look, phase: int, eastward: bool, size: float, scale: float) -> Sprite:
    sheet = Sheet(110, 74, scale=scale * size)
    _person(sheet, 34, look, phase, 0.95, 5.0, _SKIN)
    return _stand(sheet, 34, eastward, shadow=True)


@functools.cache
def cyclist(look: Look, phase: int, eastward: bool, size: float, scale: float) -> Sprite:
    sheet = Sheet(140, 74, scale=scale * size)
    x, axle_y = 44.0, _FOOT_Y - 13.0
    for wheel_x in (x - 20, x + 22):
        sheet.ellipse(wheel_x, axle_y, 13, 13, (28, 30, 34))
        sheet.ellipse(wheel_x, axle_y, 11, 11, (150, 152, 150))
        turn = 2 * math.pi * phase / NUM_PHASES
        for spoke in (0.0, math.pi / 2):
            dx, dy = 11 * math.cos(turn + spoke), 11 * math.sin(turn + spoke)
            sheet.line([(wheel_x - dx, axle_y - dy), (wheel_x + dx, axle_y + dy)], (70, 72, 76), 1.0)
    frame = [(x - 20, axle_y), (x - 8, axle_y - 18), (x + 16, axle_y - 19), (x, axle_y), (x - 8, axle_y - 18)]
    sheet.line(frame, (196, 44, 38), 2.6)
    sheet.line([(x + 22, axle_y), (x + 15, axle_y - 26), (x + 20, axle_y - 28)], (60, 62, 66), 2.4)
    pedal = 2 * math.pi * phase / NUM_PHASES
    foot = (x + 5 * math.cos(pedal), axle_y - 2 + 5 * math.sin(pedal))
    sheet.line([(x - 9, axle_y - 22), (x + 5, axle_y - 14), foot], look[1], 5.0)
    sheet.line([(x - 9, axle_y - 23), (x + 4, axle_y - 40)], look[0], 10.0)
    sheet.line([(x + 4, axle_y - 40), (x + 18, axle_y - 27)], look[0], 4.0)
    sheet.ellipse(x + 9, axle_y - 47, 5, 5.6, _SKIN)
    sheet.ellipse(x + 8, axle_y - 49, 5.6, 4.6, (232, 232, 228))
    return _stand(sheet, x, eastward, shadow=True)


def _stand(sheet: Sheet, x: float, eastward: bool, *, shadow: bool) -> Sprite:
    """Wear the clothes, turn around if needed, then lay the shadow, which always falls to the same side."""
    sheet.dapple(16.0)
    if not eastward:
        sheet.mirror(about_x=x)
    if shadow:
        sheet.lay_shadow(_FOOT_Y)
    return sprite_of(sheet, anchor_x=x, anchor_y=_FOOT_Y)


@functools.cache
def fox(phase: int, eastward: bool, scale: float) -> Sprite:
    """Grey, as infrared shows it, 46 px long."""
    sheet = Sheet(72, 36, scale=scale)
    coat, dark = (206, 206, 206), (74, 74, 74)
    swing = 5.0 * math.sin(2 * math.pi * phase / NUM_PHASES)
    for leg_x, way in ((26, 1), (29, -1), (42, -1), (45, 1)):
        sheet.line([(leg_x, 20), (leg_x + way * swing, 31)], dark, 2.4)
    sheet.line([(24, 17), (14, 21), (7, 20)], (190, 190, 190), 6.0)
    sheet.ellipse(7, 20, 3, 2.6, (236, 236, 236))
    sheet.ellipse(35, 18, 13, 5.4, coat)
    sheet.line([(45, 16), (52, 12)], coat, 6.0)
    sheet.polygon([(49, 8), (55, 8.5), (63, 14), (54, 16.5), (49, 14)], coat)
    sheet.polygon([(49, 9), (50, 3), (54, 8.5)], coat)
    sheet.dapple(22.0, grain_px=2.0)
    sheet.ellipse(56, 11.6, 1.5, 1.5, (16, 16, 16))
    if not eastward:
        sheet.mirror(about_x=36)
    return sprite_of(sheet, anchor_x=36, anchor_y=31)
