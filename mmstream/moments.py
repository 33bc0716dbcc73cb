"""Small pictures of a feed's past, dense for the last hour and thinner for the days before.

Written and thinned by whoever reads the feed (one thread), read by whoever explains an alert.
They lie in the media store under keys made from their time, so both find them after a restart and
on another machine, and a recording that is played again overwrites its pictures.
"""

from __future__ import annotations

import bisect
import dataclasses
import io
import itertools
import logging
from collections.abc import Iterable, Sequence

from PIL import Image

from mmstream.errors import StoreError
from mmstream.storage.base import MediaStore
from mmstream.storage.retention import evidence_folder
from mmstream.types import Alert

log = logging.getLogger(__name__)

GRID: tuple[tuple[float, float], ...] = (
    (3600.0, 10.0),
    (6 * 3600.0, 120.0),
    (86_400.0, 600.0),
    (7 * 86_400.0, 7200.0),
)
"""(up to this age, one picture in so many seconds): 360 + 150 + 108 + 72 pictures; older ones go."""

MAX_PICTURES = 700
MAX_BYTES = 10_240
"""Of one picture; so a feed's pictures take less than 7.2 MB."""

ASLEEP_EVERY_S = 60.0
"""A sleeping feed keeps a picture so often: nothing has moved since the last."""

THIN_EVERY = 30
"""So many pictures are added before the older ones are looked through."""

NEAR_S = 6.0
"""A picture so near to a moment shows it: half a step of the finest grid and a late key frame."""

_SHRUNK = ((320, 60), (320, 40), (320, 25), (160, 40))


class MomentArchive:
    """Keeps pictures of one feed on the `GRID`. Bounded: 700 pictures of at most 10 KB.

    Raises (from push):
        StoreError: the media store could not be written.
    """

    def __init__(self, feed_id: str, media: MediaStore) -> None:
        self._feed_id = feed_id
        self._media = media
        self._kept_ms: list[int] | None = None
        self._last_s = float("-inf")
        self._num_added = 0

    def due(self, at_s: float, *, awake: bool) -> bool:
        """Whether a picture of this moment would be kept; costs nothing."""
        return not 0.0 <= at_s - self._last_s < (GRID[0][1] if awake else ASLEEP_EVERY_S)

    def push(self, at_s: float, jpeg: bytes) -> None:
        """Keep a picture made smaller; thin out the older ones now and then."""
        self._last_s = at_s
        if self._kept_ms is None:
            self._kept_ms = kept_ms(self._media, self._feed_id)
        at_ms = round(at_s * 1000)
        self._media.put(key(self._feed_id, at_ms), shrunk(jpeg))
        place = bisect.bisect_left(self._kept_ms, at_ms)
        if self._kept_ms[place : place + 1] != [at_ms]:
            self._kept_ms.insert(place, at_ms)
        self._num_added += 1
        if self._num_added % THIN_EVERY == 1 or len(self._kept_ms) > MAX_PICTURES:
            self._thin(at_s)

    def _thin(self, now_s: float) -> None:
        assert self._kept_ms is not None
        kept = thinned(self._kept_ms, now_s)
        for at_ms in sorted(set(self._kept_ms).difference(kept)):
            self._media.delete(key(self._feed_id, at_ms))
        self._kept_ms = kept


def folder(feed_id: str) -> str:
    """Where the pictures of a feed lie in the media store."""
    return f"feeds/{feed_id}/moments/"


def key(feed_id: str, at_ms: int) -> str:
    """The key of one picture, from its time.

    >>> key("gate-3", 1700000000250)
    'feeds/gate-3/moments/1700000000250.jpg'
    """
    return f"{folder(feed_id)}{at_ms}.jpg"


def times_ms(keys: Iterable[str]) -> list[int]:
    """The times of those keys that are pictures of moments, in order.

    >>> times_ms(["feeds/a/moments/2000.jpg", "feeds/a/moments/-5.jpg", "feeds/a/moments/note.txt"])
    [-5, 2000]
    """
    names = [name.rpartition("/")[2].removesuffix(".jpg") for name in keys if name.endswith(".jpg")]
    return sorted(int(name) for name in names if name.removeprefix("-").isdigit())


def kept_ms(media: MediaStore, feed_id: str) -> list[int]:
    """The times of all pictures kept of a feed, in order."""
    return times_ms(media.keys(folder(feed_id)))


def kept_with_alert(alert: Alert, media: MediaStore) -> Alert:
    """Copy the pictures of an alert's normal moments to its clip, before they are thinned out.

    -> the alert, naming the copies; called again (for a replay, or as the alert goes on) it changes nothing. A picture
    that has gone meanwhile, or cannot be copied, is left out: no alert waits for a picture.
    """
    moments = []
    for moment in alert.normal:
        copy = f"{evidence_folder(alert.alert_id)}/normal-{moment.picture.rpartition('/')[2].removeprefix('normal-')}"
        try:
            is_kept = bool(moment.picture) and _copied(media, moment.picture, copy)
        except StoreError as error:
            is_kept = False
            log.warning("alert %s: a picture of a normal moment could not be kept: %s", alert.alert_id, error)
        moments.append(dataclasses.replace(moment, picture=copy if is_kept else ""))
    return dataclasses.replace(alert, normal=tuple(moments))


def _copied(media: MediaStore, source: str, copy: str) -> bool:
    """Whether the copy is there, made now if need be."""
    if media.get(copy) is not None:
        return True
    picture = media.get(source)
    if picture is not None:
        media.put(copy, picture)
    return picture is not None


def nearest_ms(kept_ms: Sequence[int], at_s: float, *, within_s: float = NEAR_S) -> int | None:
    """Of pictures in order, the one nearest to ``at_s``; None when none is within ``within_s``.

    >>> nearest_ms([0, 10_000, 20_000], 12.5), nearest_ms([0, 10_000, 20_000], 30.0)
    (10000, None)
    """
    place = bisect.bisect_left(kept_ms, at_s * 1000)
    nearest = min(kept_ms[max(0, place - 1) : place + 1], key=lambda at_ms: abs(at_ms - at_s * 1000), default=None)
    return nearest if nearest is not None and abs(nearest - at_s * 1000) <= within_s * 1000 else None


def thinned(kept_ms: Sequence[int], now_s: float) -> list[int]:
    """What stays of pictures in order: the first of each step of the `GRID`, and the newest of those.

    A picture keeps its place while it ages within one row, so that thinning twice changes nothing.
    Those after ``now_s`` (the clock was set back) are as far away as those before it.
    """
    stay = []
    for _, same in itertools.groupby(kept_ms, key=lambda at_ms: _step(at_ms, now_s)):
        stay.append(next(same))
    within = [at_ms for at_ms in stay if abs(now_s - at_ms / 1000) < GRID[-1][0]]
    return sorted(sorted(within, key=lambda at_ms: abs(now_s - at_ms / 1000))[:MAX_PICTURES])


def _step(at_ms: int, now_s: float) -> tuple[float, int]:
    age_s = abs(now_s - at_ms / 1000)
    every_s = next((every_s for up_to_s, every_s in GRID if age_s < up_to_s), GRID[-1][1])
    return every_s, int(at_ms // (every_s * 1000))


def shrunk(jpeg: bytes, *, settings: Sequence[tuple[int, int]] = _SHRUNK, max_bytes: int = MAX_BYTES) -> bytes:
    """A JPEG of the first of ``settings`` (longest side in pixels, quality) that is small enough, else of the last."""
    with Image.open(io.BytesIO(jpeg)) as image:
        share = min(1.0, settings[0][0] / max(image.size))
        # the decoder scales by a power of two while it decodes
        image.draft("RGB", (round(image.width * share), round(image.height * share)))
        picture = image.convert("RGB")
    small = b""
    for side_px, quality in settings:
        picture.thumbnail((side_px, side_px))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        small = buffer.getvalue()
        if len(small) <= max_bytes:
            break
    return small
