"""What can be learned from one window, and how a list of such lessons is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Mode

Vector = npt.NDArray[np.floating[Any]]
"""(D,) single precision, or half where it is kept for long."""

Key = tuple[str, str, int, Mode]
"""(channel, model, dim, mode): vectors are compared only within one key."""

SumKey = tuple[str, Mode]
"""(aspect, mode)."""

_LARGEST = 60_000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What can be learned from one window."""

    start_s: float
    end_s: float
    parts: tuple[tuple[Key, Vector, float], ...]
    """(key, vector, raw score) per channel."""
    sums: tuple[tuple[SumKey, float], ...]
    """Weighted sum of -log10 p per aspect that has several channels."""
    heights: tuple[tuple[SumKey, float], ...] = ()
    """p of every aspect, as `Levelling` counts it when the window has been judged. Not kept for later."""

    @property
    def num_bytes(self) -> int:
        return sum(vector.nbytes for _, vector, _ in self.parts)


def pack(lessons: Iterable[Lesson], keys: Sequence[Key]) -> tuple[list[Any], Vector]:
    """-> (JSON, all vectors one after another); parts whose key is not among ``keys`` are left out."""
    vectors: list[Vector] = []
    record = []
    for lesson in lessons:
        parts = [(keys.index(key), vector, raw) for key, vector, raw in lesson.parts if key in keys]
        vectors += [vector for _, vector, _ in parts]
        record.append([lesson.start_s, lesson.end_s, [[number, raw] for number, _, raw in parts], lesson.sums])
    return record, np.concatenate(vectors) if vectors else np.zeros(0, np.float16)


def unpack(record: Sequence[Any], keys: Sequence[Key], vectors: Vector) -> list[Lesson]:
    """What `pack` was given. Raises KeyError, ValueError, IndexError: it does not fit."""
    lessons = []
    start = 0
    for start_s, end_s, parts, sums in record:
        taken = []
        for number, raw in parts:
            stop = start + keys[number][2]
            taken.append((keys[number], vectors[start:stop], float(raw)))
            start = stop
        kept = tuple(((aspect, mode), float(total)) for (aspect, mode), total in sums)
        lessons.append(Lesson(start_s=start_s, end_s=end_s, parts=tuple(taken), sums=kept))
    return lessons


def halved(lesson: Lesson) -> Lesson:
    """With vectors in half precision, cut to what that can hold."""
    parts = tuple(
        (key, np.clip(vector, -_LARGEST, _LARGEST).astype(np.float16), raw) for key, vector, raw in lesson.parts
    )
    return dataclasses.replace(lesson, parts=parts)


def under(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose name begins with ``prefix``, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
