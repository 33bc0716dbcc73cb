"""Versions of the site's own models: where each comes from, which one is in use, and the way back.

A folder or an S3 location holds ``NAME/VERSION/`` with the files of each version and, written last, ``version.json``
with their hashes: what has no ``version.json`` was never finished and does not exist. ``NAME/current.json`` says which
version is in use and which were before; it is replaced as a whole, so that a reader, or whoever comes after a
``kill -9``, finds the old one or the new one and never neither. One process writes, any may read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mmstream.errors import StoreError

MANIFEST = "version.json"
DECISION = "decision.json"
CURRENT = "current.json"
MAX_BEFORE = 50
"""So many versions back the pointer remembers."""
KEPT_BEFORE = 3
"""Of those, so many are never pruned: the way back."""
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
"""Of a model: ``expectation.`` and the id of a feed, which has 64 characters at most, among others."""

State = Literal["candidate", "current", "former", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a version was made from."""

    code: str
    """The version of mmstream that made it."""
    parent: str = ""
    """The version that training started from; empty: from scratch."""
    from_s: float = 0.0
    to_s: float = 0.0
    """The stretch of time that it learned from."""
    feeds: tuple[str, ...] = ()
    num_windows: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained with: plain values."""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of one model, as it stands."""

    name: str
    version: str
    made_s: float
    lineage: Lineage
    files: Mapping[str, str]
    """Name inside the version -> SHA-256 of its bytes."""
    state: State = "candidate"
    reason: str = ""
    """Why it was promoted or refused, in words."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """What the pointer of a model says."""

    version: str = ""
    """Empty: the model as it is shipped, or none."""
    since_s: float = 0.0
    reason: str = ""
    before: tuple[str, ...] = ()
    """Versions that were in use before, the last one first."""
    rolled_back: bool = False
    """It is in use because the one after it was taken back."""


class Registry:
    """Model versions at ``url``: a folder, or ``s3://bucket/path`` with credentials from the environment.

    Raises (from every method):
        StoreError: the place cannot be read or written, or what was asked for is not there; says which.
    """

    def __init__(self, url: str | Path) -> None:
        from pyarrow import fs  # 35 MB: only whoever opens a registry needs it

        text = str(url)
        try:
            if "://" in text:
                self._files, self._root = fs.FileSystem.from_uri(text)
            else:
                self._files, self._root = fs.LocalFileSystem(), str(Path(text).absolute())
        except (OSError, ValueError) as error:
            raise StoreError(f"no model registry there: {_short(error)}; give a folder or s3://BUCKET/PATH") from None
        self._is_local = isinstance(self._files, fs.LocalFileSystem)

    # -- reading ------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Models that have at least one finished version."""
        return sorted(name for name in self._folders(self._root) if self.versions(name))

    def versions(self, name: str) -> list[ModelVersion]:
        """Newest first."""
        pointer = self._pointer(name)
        found = [self._version(name, folder, pointer) for folder in self._folders(self._path(name))]
        return sorted((v for v in found if v is not None), key=lambda v: (v.made_s, v.version), reverse=True)

    def version(self, name: str, version: str) -> ModelVersion:
        found = self._version(name, version, self._pointer(name))
        if found is None:
            known = ", ".join(one.version for one in self.versions(name)) or "none"
            raise StoreError(f"model {name!r} has no version {version!r}; it has {known}")
        return found

    def current(self, name: str) -> ModelVersion | None:
        """The version in use; None: the model as it is shipped."""
        version = self._pointer(name).get("version", "")
        return self.version(name, version) if version else None

    def in_use(self, name: str) -> InUse:
        """What is in use, since when and why; also of a model that nobody has trained yet."""
        pointer = self._pointer(name)
        return InUse(**{**pointer, "before": tuple(pointer.get("before", ()))})

    def fetch(self, version: ModelVersion, to: Path) -> Path:
        """Copy the files of a version into the folder ``to``, each checked against its hash; -> ``to``."""
        for file, digest in version.files.items():
            data = self._get(self._path(version.name, version.version, file))
            if data is None or hashlib.sha256(data).hexdigest() != digest:
                raise StoreError(f"{version.name} {version.version}: {file} is missing or damaged; roll back, or train")
            target = to / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return to

    # -- writing ------------------------------------------------------------------------------------

    def add(self, name: str, files: Mapping[str, bytes], lineage: Lineage, *, made_s: float) -> ModelVersion:
        """Keep a new version; it is a candidate until somebody promotes or refuses it.

        The same files made at the same second are the same version: adding them again changes nothing.
        """
        if not files:
            raise StoreError(f"a version of {name!r} without files is none")
        for file in files:
            if not all(_NAME.match(part) for part in file.split("/")):
                raise StoreError(f"a file of a model cannot be called {file!r}; want letters, digits, '.', '_', '-'")
        hashes = {file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())}
        together = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
        made = ModelVersion(
            name=name,
            version=f"{datetime.fromtimestamp(made_s, UTC):%Y%m%dT%H%M%S}-{together[:8]}",
            made_s=made_s,
            lineage=lineage,
            files=hashes,
        )
        for file, data in files.items():
            self._put(self._path(name, made.version, file), data)
        record = made.to_json()
        del record["state"], record["reason"]
        self._put_json(self._path(name, made.version, MANIFEST), record)
        return self.version(name, made.version)

    def promote(self, name: str, version: str, *, reason: str, at_s: float) -> ModelVersion:
        """Use this version from now on."""
        self.version(name, version)
        pointer = self._pointer(name)
        before = [old for old in (pointer.get("version", ""), *pointer.get("before", ())) if old not in ("", version)]
        self._decide(name, version, "former", reason)  # what it is once another one is current
        self._point(name, version, before, reason=reason, at_s=at_s)
        return self.version(name, version)

    def refuse(self, name: str, version: str, *, reason: str) -> ModelVersion:
        """Keep it to be looked at, but never use it."""
        if self._pointer(name).get("version") == version:
            raise StoreError(f"{name} {version} is in use; roll back before refusing it")
        self.version(name, version)
        self._decide(name, version, "refused", reason)
        return self.version(name, version)

    def note(self, name: str, version: str, *, reason: str) -> ModelVersion:
        """Keep what the gate said of a candidate that nobody has put to use yet."""
        if self.version(name, version).state == "candidate":
            self._decide(name, version, "candidate", reason)
        return self.version(name, version)

    def roll_back(self, name: str, *, reason: str, at_s: float) -> ModelVersion | None:
        """Use the version before the current one again; None: the model as it is shipped."""
        pointer = self._pointer(name)
        if not pointer.get("version"):
            raise StoreError(f"model {name!r} has nothing to roll back: no version of it is in use")
        before: list[str] = pointer["before"]
        version = before[0] if before else ""
        self._point(name, version, before[1:], reason=reason, at_s=at_s, rolled_back=True)
        self._decide(name, pointer["version"], "refused", reason)
        return self.current(name)

    def prune(self, name: str, *, keep: int = 10) -> int:
        """Delete all but the newest ``keep`` versions, the one in use and the last few before it; -> how many went."""
        pointer = self._pointer(name)
        needed = {pointer.get("version", ""), *pointer.get("before", ())[:KEPT_BEFORE]}
        old = [version for version in self.versions(name)[keep:] if version.version not in needed]
        for version in old:
            self._files.delete_dir(self._path(name, version.version))
        return len(old)

    # -- files --------------------------------------------------------------------------------------

    def _version(self, name: str, version: str, pointer: Mapping[str, Any]) -> ModelVersion | None:
        """None: there is none, or it was never finished."""
        value = self._json(self._path(name, version, MANIFEST))
        if value is None:
            return None
        record = value.pop("lineage")
        lineage = Lineage(**{**record, "feeds": tuple(record["feeds"])})
        decision = self._json(self._path(name, version, DECISION)) or {}
        return ModelVersion(
            **value,
            lineage=lineage,
            state="current" if pointer.get("version") == version else decision.get("state", "candidate"),
            reason=decision.get("reason", ""),
        )

    def _pointer(self, name: str) -> dict[str, Any]:
        return self._json(self._path(name, CURRENT)) or {}

    def _point(
        self, name: str, version: str, before: Sequence[str], *, reason: str, at_s: float, rolled_back: bool = False
    ) -> None:
        pointer = {"version": version, "since_s": at_s, "reason": reason, "before": list(before[:MAX_BEFORE])}
        self._put_json(self._path(name, CURRENT), pointer | {"rolled_back": rolled_back})

    def _decide(self, name: str, version: str, state: State, reason: str) -> None:
        self._put_json(self._path(name, version, DECISION), {"state": state, "reason": reason})

    def _path(self, *parts: str) -> str:
        for piece in "/".join(parts).split("/"):
            if not _NAME.match(piece):
                raise StoreError(f"{piece!r} cannot name a model or a part of one; want letters, digits, '.', '_', '-'")
        return "/".join((self._root, *parts))

    def _folders(self, path: str) -> list[str]:
        from pyarrow import fs

        try:
            found = self._files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except OSError as error:
            raise _unreadable(path, error) from None
        return [info.base_name for info in found if info.type == fs.FileType.Directory and _NAME.match(info.base_name)]

    def _json(self, path: str) -> dict[str, Any] | None:
        data = self._get(path)
        if data is None:
            return None
        try:
            return dict(json.loads(data))
        except (ValueError, TypeError):
            raise StoreError(f"{path} is damaged; delete it, or the folder it is in") from None

    def _get(self, path: str) -> bytes | None:
        try:
            with self._files.open_input_stream(path) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from None

    def _put_json(self, path: str, value: Mapping[str, Any]) -> None:
        self._put(path, json.dumps(value, indent=1).encode())

    def _put(self, path: str, data: bytes) -> None:
        """All of it or nothing: a folder renames a finished file, an object store shows an object when it is whole."""
        target = f"{path}.part" if self._is_local else path
        try:
            if self._is_local:
                self._files.create_dir(path.rpartition("/")[0])
            with self._files.open_output_stream(target) as stream:
                stream.write(data)
            if self._is_local:
                self._files.move(target, path)
        except OSError as error:
            raise StoreError(f"the model registry cannot write {path}: {_short(error)}") from None


def _unreadable(path: str, error: OSError) -> StoreError:
    return StoreError(f"the model registry cannot read {path}: {_short(error)}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
