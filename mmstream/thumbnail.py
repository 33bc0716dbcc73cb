"""The picture of an alert with a frame around what is unusual in it."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from mmstream.types import Region

INNER, OUTER = (255, 214, 10), (0, 0, 0)
"""Yellow within black: one of the two stands out from anything a camera can see."""

WHOLE_PICTURE_AREA = 0.8
MARGIN = 0.01
"""Of the picture, left free between the thing and the frame."""

QUALITY = 82


def framed(jpeg: bytes, region: Region) -> bytes:
    """The same picture with a two-coloured line around ``region``; unchanged when that is nearly all of it."""
    left, top, right, bottom = (min(1.0, max(0.0, share)) for share in region)
    if (right - left) * (bottom - top) >= WHOLE_PICTURE_AREA:
        return jpeg
    with Image.open(io.BytesIO(jpeg)) as file:
        image = file.convert("RGB")
    width_px, height_px = image.size
    line_px = max(2, round(min(image.size) / 72))
    border_px = line_px + max(1, line_px // 2)
    # wholly inside the picture, and never so small that both lines of a side fall together
    x0 = _within((left - MARGIN) * width_px, border_px, width_px - 5 * border_px)
    y0 = _within((top - MARGIN) * height_px, border_px, height_px - 5 * border_px)
    x1 = _within((right + MARGIN) * width_px, x0 + 4 * border_px, width_px - border_px)
    y1 = _within((bottom + MARGIN) * height_px, y0 + 4 * border_px, height_px - border_px)
    draw = ImageDraw.Draw(image)
    spread = border_px - line_px
    draw.rectangle((x0 - spread, y0 - spread, x1 + spread, y1 + spread), outline=OUTER, width=line_px + 2 * spread)
    draw.rectangle((x0, y0, x1, y1), outline=INNER, width=line_px)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)  # halved colour would blur the line
    return buffer.getvalue()


def _within(value: float, lowest: int, highest: int) -> int:
    return max(lowest, min(round(value), highest))
