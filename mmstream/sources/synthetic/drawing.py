"""What scenes are drawn with: a sheet to draw on once, a sprite to keep, a canvas to put sprites on.

All positions are in *design pixels* of a 640 x 360 picture, x right and y down; other sizes of the
same shape are the same drawing, scaled. Drawing is slow and done once; a frame is a copy of the
background and a few hundred microseconds of `Canvas.put`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mmstream.types import UInt8

DARKEST, BRIGHTEST = 14, 241
"""No drawing leaves this range: noise is added in wrapping uint8 arithmetic (a quarter of the cost)."""

Colour = tuple[int, int, int] | tuple[int, int, int, int]
Points = Sequence[tuple[float, float]]


class Sheet:
    """A drawing surface, oversampled so that edges come out smooth."""

    def __init__(
        self, width_px: float, height_px: float, *, scale: float, oversample: int = 4, ground: Colour | None = None
    ) -> None:
        self.scale = scale
        self._oversample = oversample
        self.zoom = scale * oversample
        size = (max(1, round(width_px * scale)) * oversample, max(1, round(height_px * scale)) * oversample)
        self.image = Image.new("RGBA", size, (0, 0, 0, 0) if ground is None else ground)

    def _draw(self, shape: str, xy: Points, colour: Colour, **how: Any) -> None:
        zoomed = [(x * self.zoom, y * self.zoom) for x, y in xy]
        if len(colour) == 3:
            getattr(ImageDraw.Draw(self.image), shape)(zoomed, fill=colour, **how)
            return
        layer = Image.new("RGBA", self.image.size, (0, 0, 0, 0))
        getattr(ImageDraw.Draw(layer), shape)(zoomed, fill=colour, **how)
        self.image.alpha_composite(layer)

    def polygon(self, points: Points, colour: Colour) -> None:
        self._draw("polygon", points, colour)

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour, *, radius: float = 0.0) -> None:
        # Pillow's far edge is inclusive
        corners = [(x, y), (x + w - 1 / self.zoom, y + h - 1 / self.zoom)]
        self._draw("rounded_rectangle", corners, colour, radius=radius * self.zoom)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Centre and half axes."""
        self._draw("ellipse", [(x - rx, y - ry), (x + rx, y + ry)], colour)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        self._draw("line", points, colour, width=max(1, round(width * self.zoom)), joint="curve")

    def text(self, x: float, y: float, words: str, colour: Colour, size: float) -> None:
        font = ImageFont.load_default(size * self.zoom)
        ImageDraw.Draw(self.image).text((x * self.zoom, y * self.zoom), words, fill=colour, font=font)

    def blur(self, radius_px: float) -> None:
        self.image = self.image.filter(ImageFilter.GaussianBlur(radius_px * self.zoom))

    def turn(self, heading_deg: float) -> None:
        """Turn clockwise about the middle; the sheet stays its size."""
        self.image = self.image.rotate(-heading_deg, Image.Resampling.BICUBIC)

    def dapple(self, strength: float, *, grain_px: float = 2.5, seed: int = 0) -> None:
        """Folds and wear on what was drawn so far: without them a codec's motion search finds nothing to
        hold on to inside a flat shape, and reports wild vectors."""
        width, height = (max(2, round(side / (grain_px * self.zoom))) for side in self.image.size)
        coarse = np.random.default_rng(seed).normal(0.0, 1.0, (height, width)).clip(-2, 2)
        grains = Image.fromarray(np.round(128 + 60 * coarse).astype(np.uint8))
        soft = np.asarray(grains.resize(self.image.size, Image.Resampling.BILINEAR), np.float32)
        rgba = np.array(self.image)
        rgba[..., :3] = np.clip(rgba[..., :3] + ((soft - 128.0) * (strength / 60.0))[..., None], 0, 255)
        self.image = Image.fromarray(rgba)

    def mirror(self, *, about_x: float) -> None:
        """Left becomes right; what was at ``about_x`` stays there."""
        flipped = self.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        self.image = Image.new("RGBA", flipped.size, (0, 0, 0, 0))
        self.image.paste(flipped, (round(2 * about_x * self.zoom) - flipped.width, 0))

    def cast_shadow(self, dx: float, dy: float, *, blur_px: float = 1.5, strength: float = 0.4) -> None:
        """A soft shadow of all that was drawn, shifted, beneath it."""
        alpha = self.image.getchannel("A").point(lambda a: a * strength)
        shadow = Image.new("RGBA", self.image.size, (0, 0, 0, 0))
        moved = Image.new("L", self.image.size, 0)
        moved.paste(alpha, (round(dx * self.zoom), round(dy * self.zoom)))
        shadow.putalpha(moved.filter(ImageFilter.GaussianBlur(blur_px * self.zoom)))
        shadow.alpha_composite(self.image)
        self.image = shadow

    def lay_shadow(self, foot_y: float, *, length: float = 0.35, slant: float = 0.7) -> None:
        """The shadow of an upright figure on the ground to its right, from its feet."""
        y0 = foot_y * self.zoom
        # output pixel -> input pixel: heights shrink by `length` and lean by `slant`
        affine = (1.0, slant / length, -y0 * slant / length, 0.0, 1.0 / length, y0 - y0 / length)
        alpha = self.image.getchannel("A").point(lambda a: a * 0.38)
        alpha = alpha.transform(alpha.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        shadow = Image.new("RGBA", self.image.size, (0, 0, 0, 0))
        shadow.putalpha(alpha.filter(ImageFilter.GaussianBlur(0.8 * self.zoom)))
        shadow.alpha_composite(self.image)
        self.image = shadow

    def pixels(self) -> UInt8:
        """RGBA (h, w, 4) at the picture's own resolution."""
        return np.asarray(self.image.reduce(self._oversample))

    def picture(self) -> UInt8:
        """RGB (h, w, 3), for a background."""
        return np.clip(self.pixels()[..., :3], DARKEST, BRIGHTEST)


class Sprite:
    """A finished drawing with soft edges, ready to be put on a canvas by its anchor."""

    def __init__(self, rgba: UInt8, *, anchor_x: float, anchor_y: float) -> None:
        """``rgba`` (h, w, 4) at picture resolution; the anchor in its own pixels."""
        rows, columns = np.flatnonzero(rgba[..., 3].any(1)), np.flatnonzero(rgba[..., 3].any(0))
        top, left = (int(rows[0]), int(columns[0])) if len(rows) else (0, 0)
        cut = rgba[top : rows[-1] + 1, left : columns[-1] + 1] if len(rows) else rgba[:1, :1]
        # 8-bit fixed point: colour is weighted by the alpha, in 1/256
        alpha = np.round(cut[..., 3:].astype(np.float32) * (256 / 255))
        self._keep = np.repeat(256 - alpha, 3, axis=2).astype(np.uint16)
        self._colour = np.round(np.clip(cut[..., :3], DARKEST, BRIGHTEST) * alpha).astype(np.uint16)
        self._dx, self._dy = left - anchor_x, top - anchor_y

    def put(self, pixels: UInt8, x: float, y: float, shade: float) -> None:
        left, top = round(x + self._dx), round(y + self._dy)
        height, width = self._keep.shape[:2]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, pixels.shape[1]), min(top + height, pixels.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        colour = self._colour[inside]
        if shade != 1.0:
            floor = DARKEST * (256 - self._keep[inside])
            colour = np.maximum((colour * np.float32(shade)).astype(np.uint16), floor)
        region = pixels[y0:y1, x0:x1]
        mixed = region * self._keep[inside]
        mixed += colour
        mixed >>= 8
        region[...] = mixed


class Canvas:
    """One frame in the making."""

    def __init__(self, pixels: UInt8, scale: float) -> None:
        self.pixels, self.scale = pixels, scale

    def put(self, sprite: Sprite, x: float, y: float, *, shade: float = 1.0) -> None:
        """Put the sprite's anchor at (x, y) in design pixels; ``shade`` < 1 darkens it."""
        sprite.put(self.pixels, x * self.scale, y * self.scale, shade)


def sprite_of(sheet: Sheet, *, anchor_x: float, anchor_y: float) -> Sprite:
    """The anchor in design pixels of the sheet."""
    scale = sheet.scale
    return Sprite(sheet.pixels(), anchor_x=anchor_x * scale, anchor_y=anchor_y * scale)


def weather(picture: UInt8, *, strength: float, grain_px: int, seed: int) -> UInt8:
    """Uneven ground: the same soft grey unevenness in all colours, so that neutral stays neutral."""
    height, width = picture.shape[:2]
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128.0, 40.0, (height // grain_px + 2, width // grain_px + 2)).clip(0, 255).astype(np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    added: npt.NDArray[np.float32] = (soft - 128.0) * (strength / 40.0)
    uneven: UInt8 = np.clip(picture + added[..., None], DARKEST, BRIGHTEST).astype(np.uint8)
    return uneven
