"""Clips, pictures and learned state as files in a folder."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from mmstream.config import SiteConfig
from mmstream.errors import StoreError

_PART = re.compile(r"[A-Za-z0-9._-]+")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")


class FolderMediaStore:
    """One file per key below ``root``; on a cluster, a folder that every node mounts.

    A file is written beside its place, flushed to the disk and renamed, so neither a reader nor a power
    cut meets half of one. The folder is for its owner only: it holds pictures of people.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).absolute()
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"cannot make {self._root}: {error.strerror}; give site.data_dir another folder"
            ) from error

    @classmethod
    def from_site(cls, site: SiteConfig) -> FolderMediaStore:
        return cls(site.site.data_dir / "media")

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        unfinished = path.with_name(f"~{uuid.uuid4().hex}")  # "~" is in no key: never listed, never in the way
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(path)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}; check the disk with 'mmstream doctor'") from error

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}; check its rights") from error

    def local_path(self, key: str) -> str | None:
        path = self._path(key)
        return str(path) if path.is_file() else None

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StoreError(f"cannot delete {path}: {error.strerror}; check its rights") from error

    def keys(self, prefix: str) -> Sequence[str]:
        """All keys that start with ``prefix`` (``""`` for all, ``clips/`` for a folder), sorted."""
        if not _PREFIX.fullmatch(prefix):
            raise StoreError(f"{prefix!r} cannot be the start of a key; want letters, digits and ._-/")
        folder = self._root
        if "/" in prefix:
            folder = self._path(prefix.rpartition("/")[0])
        found = []
        for where, _, names in os.walk(folder):
            relative = Path(where).relative_to(self._root)
            found += [(relative / name).as_posix() for name in names if _PART.fullmatch(name)]
        return sorted(key for key in found if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
            raise StoreError(f"{key!r} cannot be a key; want parts of letters, digits and ._- joined by /")
        return self._root.joinpath(*parts)
