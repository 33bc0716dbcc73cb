"""One thing measured at several scales, each judged by its own past: which scale fits is learned per camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.reference import Reference
from mmstream.types import Float32

NUM_SCALES = 5
LIMIT = 1e30
CAPACITY, THIN = 4096, 20
"""Numbers remembered per scale, and every so-manieth taken once full: about a day."""


class Scales:
    """The vector's last five numbers are one thing measured at five scales; the scale at which it is rarest counts.

    The score is the second largest ``(x - median) / (95 % quantile - median)``, each number in its own past. A scale
    that does not fit a camera varies much by itself, so what it measures is seldom far out: no scale has to be
    chosen. The largest alone would be that of chance: a thing shows at two neighbouring scales, noise at one. (-log10
    of the ranks instead, with an exponential tail: one step at the scale of noise then outdid a cyclist.)

    >>> scales = Scales(dim=2)
    >>> for second in range(100):
    ...     scales.learn(np.array([second % 10, 100 * (second % 10)], np.float32), float(second))
    >>> scales.score(np.array([30, 3000], np.float32)) > 2 * scales.score(np.array([9, 3000], np.float32))
    True
    """

    num_rescaled = 0
    """The measure settles as it is learned, without a step."""

    def __init__(self, *, dim: int, density: bool = False, least: float = 1e-3) -> None:
        if dim < 1:
            raise ValueError(f"a channel of scales needs vectors of at least one number, got {dim = }")
        del density  # the same keywords as `bank.Bank`; a number has no neighbours
        self._references = [Reference(capacity=CAPACITY, thin=THIN) for _ in range(min(dim, NUM_SCALES))]
        self._least = least
        self._learned = 0

    @property
    def num_rows(self) -> int:
        return 0

    def __len__(self) -> int:
        return self._learned

    def score(self, vector: Float32) -> float:
        """0.0 while nothing is known."""
        pairs = zip(self._references, self._measured(vector), strict=True)
        away = sorted(reference.deviation(number, self._least) for reference, number in pairs)
        return max(0.0, away[-2:][0])

    def learn(self, vector: Float32, at_s: float) -> None:  # noqa: ARG002 (when is of no matter to ranks)
        self._learned += 1
        for reference, number in zip(self._references, self._measured(vector), strict=True):
            reference.add(number)

    def self_scores(self) -> Float32:
        return np.zeros(0, np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        state: dict[str, npt.NDArray[Any]] = {"learned": np.array(self._learned)}
        for number, reference in enumerate(self._references):
            state |= {f"scale{number}.{name}": array for name, array in reference.state().items()}
        return state

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of as many scales."""
        self._learned = int(state["learned"])
        for number, reference in enumerate(self._references):
            prefix = f"scale{number}."
            reference.load({name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)})

    def _measured(self, vector: Float32) -> list[float]:
        numbers: list[float] = np.clip(vector[-len(self._references) :], -LIMIT, LIMIT).tolist()
        return numbers
