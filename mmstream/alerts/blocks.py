"""What calibration keeps of the past: of every counted block its maximum, and where in it the maxima lay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mmstream.alerts.levels import DAY_S
from mmstream.types import Float64

MAX_BYTES = 200_000
CELLS_PER_BLOCK = 15
STEPS_PER_UNIT = 4096.0
"""Cells hold scores in steps of 1/4096 up to 16, rounded up: finer than any rate that a threshold can be set to."""

LARGEST_CELL = 65_535


class Blocks:
    """Closed blocks of ``block_s``, oldest first: 46 bytes each, at most 200 KB (14 days of 300 s are 185 KB).

    A row holds the block's number (its start over ``block_s``), its maximum, the maximum as far as
    the provisional tail counts it, and the maxima of its cells, from which `machine` replays.
    """

    def __init__(self, *, block_s: float, quiet_s: float) -> None:
        self.block_s = block_s
        self.num_cells = max(1, round(block_s / max(quiet_s, block_s / CELLS_PER_BLOCK)))
        self.cell_s = block_s / self.num_cells
        fields = [("number", np.int32), ("maximum", np.float64), ("capped", np.float32)]
        self._row = np.dtype([*fields, ("cells", np.uint16, self.num_cells)])
        self._most = MAX_BYTES // self._row.itemsize
        self._room = np.zeros(64, self._row)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        return np.asarray(self._rows["number"])

    @property
    def maxima(self) -> Float64:
        return np.asarray(self._rows["maximum"])

    @property
    def capped(self) -> Float64:
        return np.asarray(self._rows["capped"], np.float64)

    def cells(self) -> tuple[Float64, Float64]:
        """(start in seconds, maximum) of every cell, each (n * num_cells,)."""
        starts_s = self.numbers[:, None] * self.block_s + np.arange(self.num_cells) * self.cell_s
        return starts_s.ravel(), np.asarray(self._rows["cells"]).ravel() / STEPS_PER_UNIT

    def append(self, number: int, maximum: float, capped: float, cells: Sequence[float]) -> None:
        if self._size == len(self._room):
            self._make_room()
        row = self._room[self._size]
        row["number"], row["maximum"], row["capped"] = number, maximum, capped
        row["cells"] = [_steps(value) for value in cells]
        self._size += 1

    def forget_before(self, at_s: float) -> None:
        """Drop what had ended by then."""
        self._keep((self.numbers + 1) * self.block_s > at_s)

    def exclude(self, start_s: float, end_s: float) -> None:
        """Drop every block that overlaps ``[start_s, end_s)``."""
        starts_s = self.numbers * self.block_s
        self._keep((starts_s + self.block_s <= start_s) | (starts_s >= end_s))

    def reread(self, change: Callable[[Float64], Float64]) -> None:
        """Scores read otherwise from now on: every one that is kept becomes ``change`` of it. Where nothing was, as
        between two windows, there is still nothing."""
        rows = self._rows
        rows["maximum"], rows["capped"] = change(self.maxima), change(self.capped)
        scores = np.asarray(rows["cells"]) / STEPS_PER_UNIT
        steps = np.minimum(np.ceil(change(scores.ravel()).reshape(scores.shape) * STEPS_PER_UNIT), LARGEST_CELL)
        rows["cells"] = np.where(rows["cells"] > 0, steps, 0)

    def near_hour(self, number: int, within_s: float) -> Float64:
        """Maxima of the blocks at about the same time of the day as block ``number``."""
        per_day, within = round(DAY_S / self.block_s), int(within_s / self.block_s)
        alike: Float64 = self.maxima[(self.numbers - (number - within)) % per_day <= 2 * within]
        return alike

    def state(self) -> npt.NDArray[np.void]:
        return self._rows.copy()

    def load(self, rows: npt.NDArray[np.void]) -> None:
        """Raises ValueError: the rows are not those of blocks of this length."""
        if rows.dtype != self._row or rows.ndim != 1:
            raise ValueError(f"want rows of {self._row}, got {rows.dtype} {rows.shape}")
        self._room, self._size = rows.copy(), len(rows)

    @property
    def _rows(self) -> npt.NDArray[np.void]:
        return self._room[: self._size]

    def _keep(self, kept: npt.NDArray[np.bool_]) -> None:
        if not kept.all():
            self._room = self._rows[kept]
            self._size = len(self._room)

    def _make_room(self) -> None:
        """A quarter more, up to the most; then the oldest sixteenth makes way."""
        kept = self._rows[self._most // 16 :] if self._size == self._most else self._rows
        self._room = np.zeros(min(self._most, len(kept) * 5 // 4 + 64), self._row)
        self._room[: len(kept)] = kept
        self._size = len(kept)


def _steps(score: float) -> int:
    return min(LARGEST_CELL, math.ceil(score * STEPS_PER_UNIT))


def in_steps(score: float) -> float:
    """A score as cells hold it, so that both can be compared."""
    return _steps(score) / STEPS_PER_UNIT
