"""Footage that stays as it is while it is worked on, though the feed records on and thins what it has."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmstream.storage.base import MediaStore
from mmstream.storage.media import FolderMediaStore
from mmstream.training.footage import Burst
from mmstream.training.footage_chunks import chunk_keys, read_bursts

LEFT_OVER_S = 2 * 86_400.0
"""What a killed process has left is removed by the next one after so long; no night lasts as long."""


class OwnFootage:
    """``Corpus.read_bursts`` of a folder that is removed with this object, at the latest with its process.

    Sent to another process it reads there as long as the folder is here.
    """

    def __init__(self, folder: Path) -> None:
        self.media = FolderMediaStore(folder)
        self._end = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> Iterator[Burst]:
        return read_bursts(self.media, feed_id, from_s, to_s)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (read_bursts, self.media)


def pinned(media: MediaStore, feed_ids: Sequence[str], below: Path, *, now_s: float) -> OwnFootage:
    """The footage of these feeds as it is now, in a folder of its own below ``below``.

    Where both are on one disk nothing is copied: a file that is written anew is another one for whoever has the old
    one open or linked.

    Raises:
        StoreError: the folder cannot be written or the footage not be read.
    """
    _remove_left_overs(below, now_s)
    folder = below / uuid.uuid4().hex
    own = OwnFootage(folder)
    for feed_id in feed_ids:
        for key in chunk_keys(media, feed_id):
            if not _linked(media.local_path(key), folder / key):
                data = media.get(key)
                if data is not None:
                    own.media.put(key, data)
    return own


def _linked(path: str | None, target: Path) -> bool:
    """False: on another disk, on one without links, or it has just been thinned out."""
    if path is None:
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    except OSError:
        return False
    return True


def _remove_left_overs(below: Path, now_s: float) -> None:
    for folder in below.iterdir() if below.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < now_s - LEFT_OVER_S:
                shutil.rmtree(folder, ignore_errors=True)
