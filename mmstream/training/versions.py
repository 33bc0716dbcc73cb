"""Which encoders a version of a model belongs to, and how its files come to the machine that loads them.

A replica encoder runs anywhere on a cluster. So what it is made with does not name files of one machine but a version
in the registry; whoever makes it fetches the files first (`fetched`), each checked against its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmstream.config import SiteConfig
from mmstream.training.registry import ModelVersion, Registry

FILE = "model.safetensors"
"""Of a version: the weights, in one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOption:
    """How an encoder is told which version to load."""

    name: str
    """The encoder's keyword for a path."""
    file: str = FILE
    """What the path is of; empty: the version's folder."""
    part: str = ""
    """What of the file it runs; a version may lack it, as that of a site without microphones lacks the sound."""

    def also(self, version: str) -> dict[str, str]:
        """It is told the version's name, too: alerts name what made them."""
        return {"version": version}


REPLICAS: Mapping[str, Mapping[str, VersionOption]] = {
    "site": {
        "site": VersionOption(name="weights", part="picture"),
        "site-sound": VersionOption(name="weights", part="sound"),
    },
    "adapter.vision": {"vision": VersionOption(name="adapter", file="")},
}
"""Model in the registry -> replica encoders that run it."""
MAX_HEAD_BYTES = 1_000_000
_REFERENCE = frozenset({"registry", "model", "version", "file"})


def head_of(subject: str) -> str:
    """
    >>> head_of("expectation.gate-3"), head_of("site")
    ('expectation', 'site')
    """
    return subject.partition(".")[0]


def feed_of(subject: str) -> str:
    """The one feed that a model is of; empty: all.

    >>> feed_of("expectation.gate-3"), feed_of("site"), feed_of("adapter.vision")
    ('gate-3', '', '')
    """
    head, _, rest = subject.partition(".")
    return rest if head == "expectation" else ""


def registry_of(site: SiteConfig) -> str:
    """Where the site keeps its models: a folder or an S3 location."""
    return site.training.registry or str(Path(site.site.data_dir).absolute() / "models")


def open_registry(site: SiteConfig) -> Registry | None:
    """None: nothing has been trained here yet, and there is nothing to be read."""
    place = registry_of(site)
    return Registry(place) if "://" in place or Path(place).is_dir() else None


def option_of(subject: str, encoder: str, version: str, registry: str) -> dict[str, Any]:
    """What the encoder must be made with beside what site.yaml says, to run this version; nothing without one."""
    if not version:
        return {}
    option = REPLICAS[subject][encoder]
    place = {"registry": registry, "model": subject, "version": version, "file": option.file}
    return {option.name: place, **option.also(version)}


def has_part(files: Path, option: VersionOption) -> bool:
    """Whether a version has what this encoder runs, as the head of its weights file says."""
    if not option.part:
        return True
    with (files / option.file).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        told = json.loads(file.read(min(length, MAX_HEAD_BYTES))).get("__metadata__", {})
    return "parts" not in told or option.part in told["parts"].split(",")


def with_current(site: SiteConfig) -> dict[str, dict[str, Any]]:
    """``encoders.options`` with the versions that are in use. Raises StoreError: the registry cannot be read."""
    options = {name: dict(given) for name, given in site.encoders.options.items()}
    place, registry = registry_of(site), open_registry(site)
    if registry is None:
        return options
    for subject, encoders in REPLICAS.items():
        for name in encoders:
            if name in site.encoders.replicas:
                version = registry.in_use(subject).version
                options[name] = options.get(name, {}) | option_of(subject, name, version, place)
    return options


def fetched(options: Mapping[str, Any], *, cache: Path | None = None) -> dict[str, Any]:
    """The options with versions turned into paths on this machine.

    Raises:
        StoreError: the registry cannot be read, has no such version, or its files are damaged.
    """
    return {name: _path(value, cache) if _is_reference(value) else value for name, value in options.items()}


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == _REFERENCE


def _path(place: Mapping[str, str], cache: Path | None) -> str:
    registry = Registry(place["registry"])
    folder = fetch(registry, registry.version(place["model"], place["version"]), cache=cache)
    return str(folder / place["file"])


def fetch(registry: Registry, version: ModelVersion, *, cache: Path | None = None) -> Path:
    """The folder with the version's files on this machine: whole, or not at all."""
    cache = cache or Path(tempfile.gettempdir()) / f"mmstream-{os.getuid()}" / "models"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = cache / version.name / version.version
    if _is_whole(target, version):
        return target
    target.parent.mkdir(exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=cache))
    try:
        registry.fetch(version, part)
        shutil.rmtree(target, ignore_errors=True)  # damaged, or cut off
        part.rename(target)
    except OSError:
        if not _is_whole(target, version):  # another process was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _is_whole(folder: Path, version: ModelVersion) -> bool:
    def is_same(file: str, digest: str) -> bool:
        path = folder / file
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest

    return all(is_same(file, digest) for file, digest in version.files.items())


def encoders_of(subject: str, replicas: Sequence[str]) -> list[str]:
    """Those of the site's replica encoders that run this model."""
    return [name for name in REPLICAS.get(subject, {}) if name in replicas]
