"""Strips as rows: one per feed and calibration block, its windows packed into one value.

A table of its own beside that of moments: an archive of before has none, and is added to. A week of twenty feeds is
40,000 rows, which are read and unpacked without an object per window.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32, Float64, Modality, Moment, Strip

if TYPE_CHECKING:
    import pyarrow as pa

STRIPS = "strips"
_COLUMNS = {
    "id": "string",
    "feed_id": "string",
    "start_s": "double",
    "state": "string",
    "end_s": "double",
    "covered_s": "float",
    "aspects": "string",
    "windows": "binary",
}
"""``state`` is always ``normal``: of what is too much the oldest goes, with moments of that state."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StripRows:
    """Strips of one feed that have the same aspects, oldest first, as arrays."""

    feed_id: str
    aspects: tuple[tuple[str, Modality, float], ...]
    starts_s: Float64
    """(b,) of the blocks."""
    covered_s: Float64
    """(b,)"""
    counts: npt.NDArray[np.int64]
    """(b,) how many windows each has."""
    times_s: Float64
    """(n, 2) start and end of the windows."""
    scores: Float64
    """(n, 2) fused surprise, and debounced."""
    heights: Float32
    """(n, len(aspects)) debounced -log10 p, NaN where missing."""


def strip_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.type_for_alias(kind)) for name, kind in _COLUMNS.items()])


def strip_rows(moments: Iterable[Moment]) -> pa.Table | None:
    """All strips that go with these moments; None when there are none."""
    import pyarrow as pa

    strips = {_id(strip): strip for moment in moments for strip in moment.strips}
    rows = [
        {
            "id": key,
            "feed_id": strip.feed_id,
            "start_s": strip.start_s,
            "state": "normal",
            "end_s": strip.end_s,
            "covered_s": strip.covered_s,
            "aspects": json.dumps(strip.aspects, ensure_ascii=False, separators=(",", ":")),
            "windows": _packed(strip),
        }
        for key, strip in strips.items()
    ]
    return pa.Table.from_pylist(rows, schema=strip_schema()) if rows else None


def unpacked_rows(feed_id: str, table: pa.Table) -> list[StripRows]:
    """Of rows of one feed: parted by aspects."""
    import pyarrow.compute as pc

    table = table.sort_by("start_s")
    return [
        _unpacked(feed_id, aspects, table.filter(pc.equal(table["aspects"], aspects)))
        for aspects in pc.unique(table["aspects"]).to_pylist()
    ]


def _id(strip: Strip) -> str:
    """By its first window: of a block that is begun in one process and ended in another each writes its own."""
    return f"{strip.feed_id}:{round(strip.windows[0, 0] * 1000)}"


def _window(num_aspects: int) -> np.dtype[Any]:
    """16 bytes and two per aspect: times are offsets into the block, good to a tenth of a millisecond."""
    fields = [("start", "<f4"), ("end", "<f4"), ("surprise", "<f4"), ("value", "<f4")]
    return np.dtype([*fields, ("heights", "<f2", (num_aspects,))])


def _packed(strip: Strip) -> bytes:
    rows = np.zeros(len(strip.windows), _window(len(strip.aspects)))
    rows["start"], rows["end"] = (strip.windows[:, :2] - strip.start_s).T
    rows["surprise"], rows["value"] = strip.windows[:, 2:4].T
    rows["heights"] = strip.windows[:, 4:]
    return rows.tobytes()


def _unpacked(feed_id: str, about: str, table: pa.Table) -> StripRows:
    aspects = tuple((name, modality, float(weight)) for name, modality, weight in json.loads(about))
    kind = _window(len(aspects))
    packed = table["windows"].combine_chunks()
    offsets = np.frombuffer(packed.buffers()[1], np.int32)[packed.offset : packed.offset + len(packed) + 1]
    rows = np.frombuffer(packed.buffers()[2][offsets[0] : offsets[-1]], kind)
    counts = np.diff(offsets).astype(np.int64) // kind.itemsize
    starts_s = table["start_s"].to_numpy()
    offset_s = np.repeat(starts_s, counts)
    return StripRows(
        feed_id=feed_id,
        aspects=aspects,
        starts_s=starts_s,
        covered_s=table["covered_s"].to_numpy().astype(np.float64),
        counts=counts,
        times_s=np.stack([rows["start"] + offset_s, rows["end"] + offset_s], axis=1),
        scores=np.stack([rows["surprise"], rows["value"]], axis=1).astype(np.float64),
        heights=rows["heights"].astype(np.float32),
    )
