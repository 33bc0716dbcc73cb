"""The moments of a feed in the order of time, with their vectors: what is learned from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.storage.archive import quoted
from mmstream.storage.moment_rows import VectorTable
from mmstream.types import Float16, Moment

PAGE = 512
"""Moments that are in memory at a time."""
_COLUMNS = ["id", "start_s", "end_s", "surprise", "state", "alert_id", "text", "picture", "evidence"]

Vectors = Sequence[tuple[VectorTable, Any]]
"""The tables of vectors, open."""


def feeds_of(moments: Any, from_s: float, to_s: float) -> list[str]:
    """The feeds that have moments which begin in ``[from_s, to_s)``."""
    found = moments.search().where(_between(from_s, to_s)).select(["feed_id"]).to_arrow()
    return sorted(found["feed_id"].unique().to_pylist())


def page_bounds(moments: Any, feed_id: str, from_s: float, to_s: float) -> list[tuple[float, float]]:
    """Intervals of time, in order, that hold up to `PAGE` moments of a feed each."""
    found = moments.search().where(_of(feed_id, from_s, to_s)).select(["start_s"]).to_arrow()
    starts_s = np.sort(found["start_s"].to_numpy())
    bounds_s = [*starts_s[::PAGE].tolist(), to_s]
    return list(itertools.pairwise(bounds_s))


def page_of(moments: Any, vectors: Vectors, feed_id: str, from_s: float, to_s: float) -> list[Moment]:
    """Those that begin in ``[from_s, to_s)``, in the order of time."""
    which = _of(feed_id, from_s, to_s)
    rows = moments.search().where(which).select(_COLUMNS).to_list()
    said: dict[str, dict[tuple[str, str], Float16]] = {row["id"]: {} for row in rows}
    for kind, table in vectors:
        found = table.search().where(which).select(["id", "vector"]).to_arrow()
        numbers = found["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for key, vector in zip(found["id"].to_pylist(), numbers.reshape(-1, kind.padded_dim), strict=True):
            if key in said:
                said[key][kind.channel, kind.model] = vector[: kind.dim].astype(np.float16)
    return [_moment(feed_id, row, said[row["id"]]) for row in sorted(rows, key=lambda row: float(row["start_s"]))]


def _moment(feed_id: str, row: Mapping[str, Any], said: Mapping[tuple[str, str], Float16]) -> Moment:
    evidence = json.loads(row["evidence"] or "{}")
    models = evidence.get("models", {})
    vectors = {channel: said[channel, model] for channel, model in models.items() if (channel, model) in said}
    return Moment(
        feed_id=feed_id,
        start_s=row["start_s"],
        end_s=row["end_s"],
        surprise=row["surprise"],
        p=evidence.get("p", {}),
        shares=evidence.get("shares", {}),
        state=row["state"],
        vectors=vectors,
        models=models,
        text=row["text"] or "",
        alert_id=row["alert_id"] or "",
        picture=row["picture"] or "",
        aspects=evidence.get("aspects", {}),
    )


def _of(feed_id: str, from_s: float, to_s: float) -> str:
    return f"feed_id = {quoted(feed_id)} AND {_between(from_s, to_s)}"


def _between(from_s: float, to_s: float) -> str:
    return f"start_s >= {float(from_s)!r} AND start_s < {float(to_s)!r}"
