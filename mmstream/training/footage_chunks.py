"""Where the footage of a feed lies in the media store, and reading it: one file per ten minutes, and per alert."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmstream.errors import StageError
from mmstream.storage.base import MediaStore
from mmstream.training.footage import Burst
from mmstream.training.footage_bytes import PackedBurst, bursts_of, unpacked

log = logging.getLogger(__name__)

CHUNK_S = 600.0
"""A file holds at most so much of the feed's time, from one multiple of it to the next."""
_OF_ALERT = "-alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What is known of one file."""

    size_bytes: int
    starts: tuple[float, ...]
    """Of its bursts."""


def folder(feed_id: str) -> str:
    """Where the footage of a feed lies in the media store."""
    return f"feeds/{feed_id}/footage/"


def key(feed_id: str, start_s: float, *, of_alert: bool = False) -> str:
    """The key of the file whose first burst begins at ``start_s``.

    >>> key("gate-3", 1700000000.25)
    'feeds/gate-3/footage/1700000000250.npz'
    """
    return f"{folder(feed_id)}{round(start_s * 1000)}{_OF_ALERT if of_alert else ''}.npz"


def key_s(name: str) -> float:
    """When the first burst of a file begins."""
    return int(_stem(name)) / 1000


def chunk_keys(media: MediaStore, feed_id: str) -> list[str]:
    """The files of a feed, oldest first."""
    return sorted(filter(is_chunk, media.keys(folder(feed_id))), key=key_s)


def is_chunk(name: str) -> bool:
    return name.endswith(".npz") and _stem(name).removeprefix("-").isdigit()


def is_of_alert(name: str) -> bool:
    return name.endswith(f"{_OF_ALERT}.npz")


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".npz").removesuffix(_OF_ALERT)


def look_into(media: MediaStore, name: str) -> Chunk | None:
    """Reads the index alone; None when the file has gone meanwhile. Raises StageError when it is damaged."""
    path = media.local_path(name)
    chunk = Path(path) if path is not None else media.get(name)
    if chunk is None:
        return None
    try:
        starts = tuple(burst.start_s for burst in bursts_of(chunk, with_blobs=False))
        return Chunk(size_bytes=chunk.stat().st_size if isinstance(chunk, Path) else len(chunk), starts=starts)
    except FileNotFoundError:
        return None


def read_bursts(
    media: MediaStore,
    feed_id: str,
    from_s: float,
    to_s: float,
    *,
    on_damaged: Callable[[str], None] | None = None,
) -> Iterator[Burst]:
    """The bursts of a feed that begin in ``[from_s, to_s)``, oldest first; ten minutes of them at a time are in memory.

    What is damaged is left out: ``on_damaged`` is told each sentence; None: the first one is logged. A file that
    goes while this reads (it was thinned out) is left out, too.
    """
    num_damaged = 0

    def damaged(name: str, error: StageError) -> None:
        nonlocal num_damaged
        num_damaged += 1
        if on_damaged is not None:
            on_damaged(f"{name}: {error.sentence}")
        elif num_damaged == 1:
            log.warning("%s: %s", name, error.sentence)

    for cell, names in itertools.groupby(chunk_keys(media, feed_id), key=lambda name: key_s(name) // CHUNK_S):
        if cell * CHUNK_S >= to_s or (cell + 1) * CHUNK_S <= from_s:
            continue
        found: dict[float, PackedBurst] = {}
        for name in names:
            data = media.get(name)
            try:
                found |= {burst.start_s: burst for burst in (bursts_of(data) if data is not None else ())}
            except StageError as error:
                damaged(name, error)
        for start_s in sorted(found):
            if from_s <= start_s < to_s:
                try:
                    burst = unpacked(feed_id, found[start_s])
                except StageError as error:
                    damaged(folder(feed_id), error)
                else:
                    yield burst


def burst_starts(media: MediaStore, feed_id: str) -> list[float]:
    """When the bursts of a feed begin, in order; reads the indexes alone."""
    starts: set[float] = set()
    for name in chunk_keys(media, feed_id):
        try:
            found = look_into(media, name)
            starts.update(found.starts if found is not None else ())
        except StageError as error:
            log.warning("%s: %s", name, error.sentence)
    return sorted(starts)
