"""Whether the files of a model are all there and whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmstream.encoders.hub import WANTED

_PIECE_BYTES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """One file of a model's folder."""

    name: str
    size_bytes: int
    checked: str
    """How: ``sha256`` or ``git-sha1`` against what the Hub says, ``lengths`` (a safetensors header against the size of
    its file), ``json``, or ``-`` when there is nothing to compare with."""
    problem: str = ""
    """A plain sentence; empty when it is as it should be."""


def check_folder(place: Path) -> list[CheckedFile]:
    """Look at every file that a model is loaded from, and for those that are missing.

    Of a folder that came from the Hub each is compared with the checksum that the Hub gave when it was fetched.
    """
    told = _told_by_hub(place)
    names = {name for name in told if _is_wanted(name)}
    names |= {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    checked = [_check(place, name, told.get(name)) for name in sorted(filter(_is_wanted, names))]
    if not any(item.name == "config.json" for item in checked):
        checked.append(_missing("config.json"))
    if not any(item.name.endswith((".safetensors", ".bin")) for item in (*checked, *_pickles(place))):
        checked.append(_missing("model.safetensors"))
    known = {item.name for item in checked}
    return checked + [_missing(name) for name in sorted(shards(place) - known)]


def check_safetensors(path: Path) -> str:
    """Why a weights file cannot be whole; empty when its header and its size agree.

    The format: eight bytes with the header's length (little endian), the header (JSON: name -> dtype, shape,
    ``data_offsets``), then the numbers, to the last offset exactly.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size_bytes - 8:
            return f"{path.name} is cut off or no safetensors file ({size_bytes} bytes); copy it again"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return f"{path.name} has no readable header; copy it again"
    wanted_bytes = 8 + length + max(ends, default=0)
    if wanted_bytes != size_bytes:
        return f"{path.name} has {size_bytes} bytes and should have {wanted_bytes}; copy it again"
    return ""


def _check(place: Path, name: str, told: tuple[str, str] | None) -> CheckedFile:
    path = place / name
    if not path.is_file():
        return _missing(name)
    size_bytes = path.stat().st_size
    if told is not None:
        kind, expected = told
        found = _sha256(path) if kind == "sha256" else _git_sha1(path)
        problem = "" if found == expected else f"{name} is not what the Hub has ({kind} differs); pull it again"
        return CheckedFile(name=name, size_bytes=size_bytes, checked=kind, problem=problem)
    if name.endswith(".safetensors"):
        return CheckedFile(name=name, size_bytes=size_bytes, checked="lengths", problem=check_safetensors(path))
    if name.endswith(".json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return CheckedFile(name=name, size_bytes=size_bytes, checked="json", problem=f"{name} is no JSON; copy it")
        return CheckedFile(name=name, size_bytes=size_bytes, checked="json")
    return CheckedFile(name=name, size_bytes=size_bytes, checked="-")


def _told_by_hub(place: Path) -> Mapping[str, tuple[str, str]]:
    """File -> (kind of checksum, checksum), as the Hub listed them when the folder was fetched; empty for others.

    huggingface_hub keeps that listing as ``trees/<commit>.json``: beside ``snapshots`` in its cache, and under
    ``.cache/huggingface`` in a folder of one's own.
    """
    in_cache = place.parent.name == "snapshots"
    listings = (
        [place.parent.parent / "trees" / f"{place.name}.json"]
        if in_cache
        else sorted((place / ".cache" / "huggingface" / "trees").glob("*.json"), key=lambda path: path.stat().st_mtime)
    )
    try:
        files = json.loads(listings[-1].read_text(encoding="utf-8"))["files"]
        return {
            name: ("sha256", entry["lfs_sha256"]) if "lfs_sha256" in entry else ("git-sha1", entry["blob_id"])
            for name, entry in files.items()
        }
    except (OSError, IndexError, ValueError, KeyError, TypeError):
        return {}


def _is_wanted(name: str) -> bool:
    return any(Path(name).match(pattern) and name.count("/") == pattern.count("/") for pattern in WANTED)


def _pickles(place: Path) -> Iterator[CheckedFile]:
    """Weights in torch's own format: loaded without running code, but only where somebody put them by hand."""
    for path in place.glob("*.bin"):
        yield CheckedFile(name=path.name, size_bytes=path.stat().st_size, checked="-")


def shards(place: Path) -> set[str]:
    """The files that an index of a model in several files names."""
    try:
        index = json.loads((place / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return set(map(str, index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _missing(name: str) -> CheckedFile:
    return CheckedFile(name=name, size_bytes=0, checked="-", problem=f"{name} is missing; pull or copy the model again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_sha1(path: Path) -> str:
    """Git's name for a file: the SHA-1 of its length and its bytes."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            total.update(piece)
    return total.hexdigest()


def digest(paths: Sequence[Path]) -> str:
    """Ten hex digits of all the bytes: fine-tuning may change only layers in the middle of a file."""
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            total.update(bytes.fromhex(_sha256(path)))
    return total.hexdigest()[:10]
