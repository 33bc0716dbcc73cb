"""Channels whose encoder has already measured surprise: the first number is the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32

LIMIT = 1e30


class Value:
    """The vector's first number, cut to +-1e30 so that float32 sums of it stay finite.

    >>> Value(dim=2).score(np.array([3.5, 0.0], np.float32))
    3.5
    """

    num_rescaled = 0
    """Scores never change their meaning: the bank's counterpart counts when they do."""

    def __init__(self, *, dim: int, density: bool = False) -> None:
        if dim < 1:
            raise ValueError(f"a value channel needs vectors of at least one number, got {dim = }")
        del density  # the same keywords as `bank.Bank`; a number has no neighbours
        self._learned = 0

    @property
    def num_rows(self) -> int:
        return 0

    def __len__(self) -> int:
        return self._learned

    def score(self, vector: Float32) -> float:
        return float(min(max(vector[0], -LIMIT), LIMIT))

    def learn(self, vector: Float32, at_s: float) -> None:  # noqa: ARG002 (nothing but the count is kept)
        self._learned += 1

    def self_scores(self) -> Float32:
        return np.zeros(0, np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {"learned": np.array(self._learned)}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._learned = int(state["learned"])
