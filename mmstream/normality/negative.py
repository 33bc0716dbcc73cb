"""What an operator has confirmed to be an event: never to be taken as normal, however often it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32

MAX_ROWS = 256
RADIUS_SHARE = 0.5
"""Of the distance from a confirmed vector to the most similar normal one: nearer than that, it is the event again."""

_LARGEST = 60_000.0


class Negative:
    """At most 256 vectors in the encoder's own units, each with a radius; the oldest go first."""

    def __init__(self, *, dim: int) -> None:
        self._rows = np.zeros((0, dim), np.float16)
        self._radii = np.zeros(0, np.float32)
        self._cases: list[str] = []

    def __len__(self) -> int:
        return len(self._cases)

    def covers(self, vector: Float32) -> bool:
        if not self._cases:
            return False
        apart = np.linalg.norm(self._rows.astype(np.float32) - _bounded(vector), axis=1)
        return bool((apart <= self._radii).any())

    def add(self, case: str, vector: Float32, *, usual: Float32) -> None:
        """``usual``: the normal vector most like it."""
        radius = RADIUS_SHARE * float(np.linalg.norm(_bounded(vector) - _bounded(usual)))
        self._rows = np.concatenate([self._rows, _bounded(vector)[None].astype(np.float16)])[-MAX_ROWS:]
        self._radii = np.append(self._radii, np.float32(radius))[-MAX_ROWS:]
        self._cases = [*self._cases, case][-MAX_ROWS:]

    def remove(self, case: str) -> None:
        """The operator has thought better of it."""
        kept = np.array([other != case for other in self._cases], np.bool_)
        self._rows, self._radii = self._rows[kept], self._radii[kept]
        self._cases = [other for other in self._cases if other != case]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        cases = np.array(self._cases, np.str_) if self._cases else np.zeros(0, "<U1")
        return {"rows": self._rows.copy(), "radii": self._radii.copy(), "cases": cases}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._rows = np.array(state["rows"], np.float16)
        self._radii = np.array(state["radii"], np.float32)
        self._cases = [str(case) for case in state["cases"]]


def _bounded(vector: Float32) -> Float32:
    bounded: Float32 = np.clip(vector, -_LARGEST, _LARGEST).astype(np.float32)
    return bounded
