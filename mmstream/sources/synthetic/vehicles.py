"""Cars, buses, lorries and forklifts from above, drawn pointing east and turned."""

from __future__ import annotations

import functools

from mmstream.sources.synthetic.drawing import Colour, Sheet, Sprite, sprite_of

TURN_STEP_DEG = 10
CAR_LENGTH_PX, BUS_LENGTH_PX = 56.0, 112.0
CAR_COLOURS: tuple[Colour, ...] = (
    (222, 224, 226),
    (58, 66, 78),
    (150, 157, 163),
    (44, 84, 142),
    (128, 52, 48),
    (92, 118, 98),
    (196, 178, 142),
)
INTRUDER_COLOUR: Colour = (214, 40, 34)
BUS_COLOUR: Colour = (226, 168, 52)
_GLASS: Colour = (34, 42, 52)


def whole_turn(heading_deg: float) -> int:
    """The nearest heading that sprites are drawn for."""
    return round(heading_deg / TURN_STEP_DEG) * TURN_STEP_DEG % 360


def _lighter(colour: Colour, by: int) -> Colour:
    red, green, blue = (max(14, min(241, part + by)) for part in colour[:3])
    return red, green, blue


def _finish(sheet: Sheet, side: float, heading_deg: int) -> Sprite:
    sheet.dapple(7.0, grain_px=3.5)
    sheet.turn(heading_deg)
    sheet.cast_shadow(4, 5, blur_px=1.6, strength=0.45)
    return sprite_of(sheet, anchor_x=side / 2, anchor_y=side / 2)


@functools.cache
def car(colour: Colour, heading_deg: int, scale: float) -> Sprite:
    side, sheet = 80.0, Sheet(80, 80, scale=scale)
    x, y = (side - CAR_LENGTH_PX) / 2, (side - 26) / 2
    for wheel_x in (x + 8, x + 38):
        sheet.rectangle(wheel_x, y - 1.5, 9, 29, (20, 20, 22), radius=2)
    sheet.rectangle(x, y, CAR_LENGTH_PX, 26, colour, radius=8)
    sheet.rectangle(x + 3, y + 3, 50, 20, _lighter(colour, 12), radius=6)
    sheet.polygon([(x + 34, y + 3), (x + 42, y + 5), (x + 42, y + 21), (x + 34, y + 23)], _GLASS)
    sheet.polygon([(x + 12, y + 4), (x + 7, y + 6), (x + 7, y + 20), (x + 12, y + 22)], _GLASS)
    sheet.rectangle(x + 13, y + 1.5, 20, 23, _GLASS, radius=3)
    sheet.rectangle(x + 12, y + 4, 23, 18, _lighter(colour, 26), radius=4)
    for lamp_y in (y + 5, y + 21):
        sheet.ellipse(x + 54, lamp_y, 2, 2.6, (241, 236, 196))
        sheet.ellipse(x + 1.8, lamp_y, 1.6, 2.6, (196, 36, 30))
    return _finish(sheet, side, heading_deg)


@functools.cache
def bus(heading_deg: int, scale: float) -> Sprite:
    side, sheet = 136.0, Sheet(136, 136, scale=scale)
    x, y = (side - BUS_LENGTH_PX) / 2, (side - 31) / 2
    for wheel_x in (x + 14, x + 82):
        sheet.rectangle(wheel_x, y - 1.5, 12, 34, (20, 20, 22), radius=2)
    sheet.rectangle(x, y, BUS_LENGTH_PX, 31, BUS_COLOUR, radius=5)
    sheet.rectangle(x + 3, y + 3, 100, 25, _lighter(BUS_COLOUR, 18), radius=4)
    sheet.rectangle(x + 105, y + 3, 5, 25, _GLASS, radius=2)
    for hatch_x in (x + 16, x + 46, x + 76):
        sheet.rectangle(hatch_x, y + 9, 16, 13, _lighter(BUS_COLOUR, -34), radius=2)
    return _finish(sheet, side, heading_deg)


@functools.cache
def forklift(heading_deg: int, loaded: bool, scale: float) -> Sprite:
    """The fork points ahead; with a pallet of boxes on it when loaded."""
    side, sheet = 100.0, Sheet(100, 100, scale=scale)
    x, y = 22.0, 34.0
    for prong_y in (y + 8, y + 20):
        sheet.rectangle(x + 36, prong_y, 28, 4, (72, 74, 78))
    if loaded:
        sheet.rectangle(x + 40, y - 1, 32, 34, (150, 112, 66), radius=1)
        for box_x, box_y, tone in ((41, 0, 0), (57, 0, 14), (41, 16, 10), (57, 16, -8)):
            sheet.rectangle(x + box_x, y + box_y, 14.5, 15, _lighter((188, 150, 100), tone), radius=1)
    for wheel_x in (x + 3, x + 26):
        sheet.rectangle(wheel_x, y - 2, 9, 36, (22, 22, 24), radius=2)
    sheet.rectangle(x, y + 1, 38, 30, (228, 150, 24), radius=5)
    sheet.rectangle(x, y + 3, 9, 26, (56, 54, 52), radius=4)
    sheet.rectangle(x + 11, y + 5, 20, 22, (48, 50, 54), radius=3)
    sheet.rectangle(x + 13, y + 7, 16, 18, (236, 174, 60), radius=3)
    sheet.rectangle(x + 33, y + 3, 3, 26, (60, 60, 64))
    return _finish(sheet, side, heading_deg)


@functools.cache
def lorry(scale: float) -> Sprite:
    """Pointing south, so that its doors are at the top; 68 x 196 px, anchored at the middle of its rear."""
    sheet = Sheet(96, 220, scale=scale)
    x, y = 10.0, 4.0
    sheet.rectangle(x + 6, y + 152, 56, 44, (38, 78, 128), radius=8)
    sheet.rectangle(x + 10, y + 176, 48, 12, _GLASS, radius=3)
    sheet.rectangle(x + 12, y + 156, 44, 18, (52, 98, 156), radius=4)
    sheet.rectangle(x, y, 68, 148, (216, 219, 222), radius=2)
    sheet.rectangle(x + 3, y + 3, 62, 142, (228, 231, 233), radius=2)
    for rib_y in range(14, 144, 16):
        sheet.rectangle(x + 3, y + rib_y, 62, 1.2, (198, 202, 206))
    sheet.rectangle(x + 24, y + 40, 20, 68, (38, 112, 104), radius=2)
    sheet.dapple(6.0, grain_px=4.0)
    sheet.cast_shadow(7, 6, blur_px=2.5, strength=0.5)
    return sprite_of(sheet, anchor_x=x + 34, anchor_y=y)
