"""Moments as rows: one table of moments, and beside it one table of vectors per channel and model version.

Vectors of different models lie in different tables, so they can never be compared, a new model changes no schema, and
an old one's table goes when its last moment has. The few columns by which vectors are filtered stand with them, too.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmstream.storage.terms import stored_terms
from mmstream.types import Moment

if TYPE_CHECKING:
    import pyarrow as pa

MOMENTS = "moments"
FORMAT = "1"
MAX_JPEG_BYTES = 4096
"""Of the small picture in a row; larger ones are left out."""
PAD_TO = 8
"""The vector index wants whole bytes, one bit per number: vectors are filled up with zeros, which turns none."""

_ABOUT = ("id", "feed_id", "start_s", "state")
_COLUMNS = {
    "id": "string",
    "feed_id": "string",
    "start_s": "double",
    "state": "string",
    "end_s": "double",
    "surprise": "float",
    "alert_id": "string",
    "text": "string",
    "terms": "string",
    "evidence": "string",
    "picture": "string",
    "pictured": "bool",
    "jpeg": "binary",
}
"""Of the table of moments, with Arrow's names of the types."""


def moment_schema() -> pa.Schema:
    """Of the table of moments."""
    return _schema(_COLUMNS)


def _schema(names: Iterable[str], extra: Sequence[pa.Field] = (), about: Mapping[str, str] | None = None) -> pa.Schema:
    import pyarrow as pa  # 27 MB that a process without an archive need not pay

    fields = [pa.field(name, pa.type_for_alias(_COLUMNS[name])) for name in names]
    return pa.schema([*fields, *extra], metadata={"mmstream.archive": FORMAT, **(about or {})})


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorTable:
    """Which vectors are in a table."""

    channel: str
    model: str
    dim: int
    """As the model gives them."""

    @property
    def name(self) -> str:
        """
        >>> VectorTable(channel="vision", model="clip@1", dim=512).name
        'vectors-vision-fab6e825'
        """
        return f"{prefix_of(self.channel)}{zlib.crc32(f'{self.channel}|{self.model}|{self.dim}'.encode()):08x}"

    @property
    def padded_dim(self) -> int:
        return -(-self.dim // PAD_TO) * PAD_TO

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        about = {"channel": self.channel, "model": self.model, "dim": str(self.dim)}
        vector = pa.field("vector", pa.list_(pa.float16(), self.padded_dim))
        return _schema(_ABOUT, [vector], {"mmstream.vectors": json.dumps(about)})

    @classmethod
    def of_schema(cls, schema: pa.Schema) -> VectorTable | None:
        """None: a table that is not ours."""
        found = (schema.metadata or {}).get(b"mmstream.vectors")
        if found is None:
            return None
        about = json.loads(found)
        return cls(channel=about["channel"], model=about["model"], dim=int(about["dim"]))


def prefix_of(channel: str) -> str:
    """How the names of the tables with a channel's vectors begin."""
    return f"vectors-{re.sub(r'[^A-Za-z0-9_]', '_', channel)}-"


def moment_id(feed_id: str, start_s: float) -> str:
    """From the data alone: what is written again after a crash overwrites.

    >>> moment_id("gate-3", 1700000000.25)
    'gate-3:1700000000250'
    """
    return f"{feed_id}:{round(start_s * 1000)}"


def moment_rows(moments: Sequence[Moment], jpegs: Mapping[str, bytes]) -> pa.Table:
    """Rows of `moment_schema`; ``jpegs``: moment id -> its small picture."""
    import pyarrow as pa

    rows = []
    for moment in moments:
        key = moment_id(moment.feed_id, moment.start_s)
        evidence = {"p": _rounded(moment.p), "shares": _rounded(moment.shares), "models": dict(moment.models)}
        if moment.aspects:
            evidence["aspects"] = _rounded(moment.aspects)
        jpeg = jpegs.get(key)
        if jpeg is not None and len(jpeg) > MAX_JPEG_BYTES:
            jpeg = None
        rows.append(
            _about(moment)
            | {
                "end_s": moment.end_s,
                "surprise": moment.surprise,
                "alert_id": moment.alert_id or None,
                "text": moment.text or None,
                "terms": stored_terms(moment.text) or None,
                "evidence": json.dumps(evidence, ensure_ascii=False, separators=(",", ":")),
                "picture": moment.picture or None,
                "pictured": jpeg is not None,
                "jpeg": jpeg,
            }
        )
    return pa.Table.from_pylist(rows, schema=moment_schema())


def vector_rows(moments: Sequence[Moment]) -> dict[VectorTable, pa.Table]:
    """The moments' vectors by the table that they belong to."""
    by_table: defaultdict[VectorTable, list[Moment]] = defaultdict(list)
    for moment in moments:
        for channel, vector in moment.vectors.items():
            by_table[VectorTable(channel=channel, model=moment.models[channel], dim=vector.size)].append(moment)
    return {table: _vectors(table, found) for table, found in by_table.items()}


def _vectors(table: VectorTable, moments: Sequence[Moment]) -> pa.Table:
    import pyarrow as pa

    padded = np.zeros((len(moments), table.padded_dim), np.float16)
    for row, moment in enumerate(moments):
        padded[row, : table.dim] = moment.vectors[table.channel]
    about = pa.Table.from_pylist([_about(moment) for moment in moments], schema=_schema(_ABOUT))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(padded.ravel()), table.padded_dim)
    return about.append_column("vector", vectors).cast(table.schema)


def _about(moment: Moment) -> dict[str, Any]:
    return {
        "id": moment_id(moment.feed_id, moment.start_s),
        "feed_id": moment.feed_id,
        "start_s": moment.start_s,
        "state": moment.state,
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
