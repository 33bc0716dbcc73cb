"""The small pictures that are kept with moments: found among the pictures of the feed's past, made tiny.

They are there some seconds after their moment, and thinned out within hours; the copy in the archive stays.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from PIL import UnidentifiedImageError

from mmstream.errors import StoreError
from mmstream.moments import kept_ms, key, nearest_ms, shrunk
from mmstream.storage.base import MediaStore
from mmstream.storage.moment_rows import MAX_JPEG_BYTES, moment_id
from mmstream.types import Moment

log = logging.getLogger(__name__)

SIZES: tuple[tuple[int, int], ...] = ((128, 60), (128, 40), (96, 40), (64, 40), (64, 20))
"""(longest side in pixels, JPEG quality), best first."""


def with_pictures(moments: Sequence[Moment], media: MediaStore) -> tuple[list[Moment], dict[str, bytes], int]:
    """-> the moments, naming their pictures; moment id -> a JPEG of at most 4 KB; how many could not be read.

    One picture may show several moments: it is copied with the unusual ones, and with the first of the others.
    """
    named: list[Moment] = []
    jpegs: dict[str, bytes] = {}
    tiny: dict[str, bytes | None] = {}
    times = {feed_id: _times(media, feed_id) for feed_id in {moment.feed_id for moment in moments}}
    for moment in moments:
        at_ms = nearest_ms(times[moment.feed_id], (moment.start_s + moment.end_s) / 2)
        if at_ms is None:
            named.append(moment)
            continue
        name = key(moment.feed_id, at_ms)
        named.append(dataclasses.replace(moment, picture=name))
        if name not in tiny:
            tiny[name] = _tiny_of(media, name)
        elif moment.state == "normal":
            continue
        jpeg = tiny[name]
        if jpeg is not None:
            jpegs[moment_id(moment.feed_id, moment.start_s)] = jpeg
    return named, jpegs, sum(jpeg is None for jpeg in tiny.values())


def tiny_jpeg(jpeg: bytes) -> bytes:
    """A picture of at most `MAX_JPEG_BYTES`: five settings are tried, the last one is small enough in any case."""
    return shrunk(jpeg, settings=SIZES, max_bytes=MAX_JPEG_BYTES)


def _times(media: MediaStore, feed_id: str) -> list[int]:
    try:
        return kept_ms(media, feed_id)
    except StoreError as error:
        log.warning("feed %s: its pictures cannot be listed for the archive: %s", feed_id, error)
        return []


def _tiny_of(media: MediaStore, name: str) -> bytes | None:
    try:
        jpeg = media.get(name)
        return tiny_jpeg(jpeg) if jpeg is not None else None
    except (StoreError, UnidentifiedImageError, OSError) as error:
        log.warning("the picture %s cannot be kept with its moment: %s", name, error)
        return None
