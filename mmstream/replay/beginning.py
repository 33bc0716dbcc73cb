"""What a camera's calibrator had learned before the days that are gone through: out of the state that is kept of it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import numpy.typing as npt

from mmstream.alerts.blocks import LARGEST_CELL, STEPS_PER_UNIT
from mmstream.replay.strips import Past
from mmstream.storage.base import MediaStore
from mmstream.types import Float64


def kept_blocks(media: MediaStore, feed_id: str) -> npt.NDArray[np.void] | None:
    """The blocks in a feed's learned state; None when there is none that can be read."""
    snapshot = media.get(f"feeds/{feed_id}/learned.npz")
    if snapshot is None:
        return None
    try:
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as file:
            return np.asarray(file["calibrator.blocks"])
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile):
        return None


def before(rows: npt.NDArray[np.void], number: int) -> npt.NDArray[np.void]:
    """Rows of blocks before block ``number``, and those of recordings that were learned from: they come first, and
    where their made-up times are later, numbers fall once to the first live one."""
    falls = np.flatnonzero(np.diff(rows["number"]) <= 0)
    num_recorded = int(falls[-1]) + 1 if len(falls) else 0
    return np.concatenate([rows[:num_recorded], rows[num_recorded:][rows["number"][num_recorded:] < number]])


def reread(rows: npt.NDArray[np.void], past: Past, value: Float64) -> npt.NDArray[np.void]:
    """Rows as they would be had scores been ``value`` (n,) and not ``past.value``: rank by rank, as the blocks of
    ``past`` stand to one another on both scales; beyond them shifted."""
    filled = np.diff(past.first) > 0
    if not filled.any():
        return rows
    starts = past.first[:-1][filled]
    old, new = np.sort(np.maximum.reduceat(past.value, starts)), np.sort(np.maximum.reduceat(value, starts))

    def change(scores: Float64) -> Float64:
        inside = np.interp(scores, old, new)
        shifted = inside + np.maximum(0.0, scores - old[-1]) - np.maximum(0.0, old[0] - scores)
        return np.asarray(np.maximum(0.0, shifted))

    found = rows.copy()
    found["maximum"], found["capped"] = change(rows["maximum"]), change(rows["capped"].astype(np.float64))
    steps = np.ceil(change(rows["cells"] / STEPS_PER_UNIT) * STEPS_PER_UNIT)
    found["cells"] = np.where(rows["cells"] > 0, np.minimum(steps, LARGEST_CELL), 0)
    return found
