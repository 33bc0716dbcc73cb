"""What a feed showed and sounded a moment ago, as a model wants it: decoded only when somebody asks.

The packet ring that clips are cut from has it all, undecoded. Keeping decoded sound and pictures beside it would cost
every feed 3 MB and scaling every second for what is asked about a few moments of the day.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from mmstream.evidence import PacketRing
from mmstream.sources.decode import AUDIO_RATE_HZ
from mmstream.sources.pictures import jpeg_near
from mmstream.sources.sound import sound_of
from mmstream.types import Float32, UInt8

PICTURE_WIDTH_PX = 448
"""Small vision-language models look at tiles of 224 to 512 pixels."""
LEAST_HEARD_S = 0.5
MARGIN_S = 0.5
"""Sound may lie in the ring before the key frame of its time, and leaves its decoder with the packets after it."""
NEAR_S = 2.0
"""A picture further away than this is not one of the moment."""


def sound_between(ring: PacketRing, start_s: float, end_s: float) -> Float32 | None:
    """Mono samples at 16 kHz of ``[start_s, end_s)``, as far as the ring has them; None when there is next to nothing.

    Takes some milliseconds: for a thread.
    """
    packets = ring.packets_between(start_s - MARGIN_S, end_s + MARGIN_S)
    samples, first_s = sound_of(packets, AUDIO_RATE_HZ)
    left = max(0, round((start_s - first_s) * AUDIO_RATE_HZ))
    piece = samples[left : max(0, round((end_s - first_s) * AUDIO_RATE_HZ))]
    return piece.copy() if piece.size >= LEAST_HEARD_S * AUDIO_RATE_HZ else None


def pictures_at(ring: PacketRing, times_s: Iterable[float]) -> tuple[UInt8, ...]:
    """The pictures nearest to those moments, RGB (H, W, 3), in order; those that are gone are left out.

    Decodes up to a group of pictures for each: for a thread.
    """
    found = []
    for at_s in sorted(times_s):
        packets = ring.packets_between(at_s, at_s + NEAR_S)
        if not packets or packets[-1].end_s < at_s - NEAR_S:
            continue
        jpeg = jpeg_near(packets, at_s, max_width_px=PICTURE_WIDTH_PX)
        if jpeg is not None:
            with Image.open(io.BytesIO(jpeg)) as image:
                found.append(np.asarray(image.convert("RGB"), np.uint8))
    return tuple(found)
