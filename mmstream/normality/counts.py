"""How often things have come, by the hash of each: a table of fixed size in which the rarest make way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

WAYS = 8
"""Places that a thing may be in."""
MOST = 60_000
"""Beyond it everything is halved: what came once in so long is forgotten, and the rest keeps its proportions."""

_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(29)
_MARK_SHIFT = np.uint64(48)


class Counts:
    """Counts of at most ``num_entries`` hashed things, four bytes each, taken when the first one comes.

    A thing is told by the place that its key gives it and a 16-bit mark, so that one in 10,000 strangers is taken for
    something known. Where all eight places of a thing are taken, the one that came least often is forgotten.
    """

    def __init__(self, num_entries: int) -> None:
        if num_entries < WAYS or num_entries & (num_entries - 1):
            raise ValueError(f"num_entries: want a power of two of at least {WAYS}, got {num_entries}")
        self._num_rows = num_entries // WAYS
        self._marks: npt.NDArray[np.uint16] = np.zeros((0, WAYS), np.uint16)
        self._counts: npt.NDArray[np.uint16] = np.zeros((0, WAYS), np.uint16)
        self.is_full = False
        """Something has been counted more than `MOST` times: time for `halve`."""

    def __len__(self) -> int:
        """How many things are known."""
        return int(np.count_nonzero(self._counts))

    def get(self, keys: Keys) -> Int64:
        """(n,) how often each has come; 0 for strangers."""
        if not len(self._counts):
            return np.zeros(len(keys), np.int64)
        rows, marks = self._placed(keys)
        found = np.where(self._marks[rows] == marks[:, None], self._counts[rows], 0)
        counts: Int64 = found.max(axis=1).astype(np.int64)
        return counts

    def add(self, keys: Keys) -> None:
        """Each has come once more, as often as it stands in ``keys``."""
        if not len(keys):
            return
        if not len(self._counts):
            self._marks = np.zeros((self._num_rows, WAYS), np.uint16)
            self._counts = np.zeros((self._num_rows, WAYS), np.uint16)
        once, times = np.unique(keys, return_counts=True)
        rows, marks = self._placed(once)
        match = (self._marks[rows] == marks[:, None]) & (self._counts[rows] > 0)
        known = match.any(axis=1)
        places = match.argmax(axis=1)
        grown = self._counts[rows[known], places[known]].astype(np.int64) + times[known]
        self._counts[rows[known], places[known]] = np.minimum(grown, np.iinfo(np.uint16).max)
        self.is_full |= bool((grown > MOST).any())
        for row, mark, count in zip(rows[~known].tolist(), marks[~known].tolist(), times[~known].tolist(), strict=True):
            place = int(self._counts[row].argmin())
            self._marks[row, place], self._counts[row, place] = mark, min(count, MOST)

    def halve(self) -> None:
        """Half of all is forgotten, and with it what came once."""
        self._counts //= 2
        self.is_full = False

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What is known, without the room for more."""
        places = np.flatnonzero(self._counts).astype(np.uint32)
        return {"places": places, "marks": self._marks.ravel()[places], "counts": self._counts.ravel()[places]}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of such a table."""
        places, marks, counts = state["places"], state["marks"], state["counts"]
        if not len(places) == len(marks) == len(counts) or np.any(places >= self._num_rows * WAYS):
            raise ValueError(f"counts of {len(places)} things do not fit a table of {self._num_rows * WAYS}")
        self._marks = np.zeros((self._num_rows if len(places) else 0, WAYS), np.uint16)
        self._counts = np.zeros_like(self._marks)
        self._marks.ravel()[places], self._counts.ravel()[places] = marks, counts
        self.is_full = bool(np.any(counts > MOST))

    def _placed(self, keys: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint16]]:
        return (keys % np.uint64(self._num_rows)).astype(np.intp), (keys >> _MARK_SHIFT).astype(np.uint16)


def hashed(kind: int, *columns: Int64) -> Keys:
    """(n,) a key per row of ``columns`` (each (n,), whole numbers), another one for every ``kind``."""
    keys = np.full(len(columns[0]), kind + 1, np.uint64) * _MULTIPLY
    for column in columns:
        keys = (keys ^ column.astype(np.uint64)) * _MULTIPLY
        keys ^= keys >> _FOLD
    return keys * _MULTIPLY
