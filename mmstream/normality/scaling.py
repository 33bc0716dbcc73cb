"""Bring every dimension of a vector to the same scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmstream.types import Float32

LIMIT = 50.0
"""Standard deviations at which a coordinate is cut: keeps every distance finite in float32."""

LARGEST = 1e37
"""Beyond this, differences of vectors no longer fit float32."""

STD_FLOOR = 0.1
"""Least standard deviation, as a share of the median one: a constant dimension must not explode."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """Mean and standard deviation per dimension.

    >>> scaling = Scaling.of(np.array([[0, 10], [2, 30]], np.float32))
    >>> scaling.apply(np.array([2, 20], np.float32)).tolist()
    [1.0, 0.0]
    """

    mean: Float32
    """(D,)"""
    std: Float32
    """(D,), > 0"""

    @classmethod
    def of(cls, rows: Float32, least: float = 0.0) -> Scaling:
        """From (n, D) rows, n >= 1; no standard deviation below ``least``."""
        mean = rows.mean(axis=0, dtype=np.float64)
        std = rows.std(axis=0, dtype=np.float64)
        # all dimensions constant (a frozen picture): a thousandth of their size counts as one deviation
        least = max(least, STD_FLOOR * float(np.median(std)), 1e-3 * float(np.sqrt((mean**2).mean())), 1e-6)
        return cls(mean=mean.astype(np.float32), std=np.maximum(std, least).astype(np.float32))

    def apply(self, vectors: Float32) -> Float32:
        """(..., D) -> (..., D), each coordinate within +-`LIMIT`."""
        with np.errstate(over="ignore"):  # a vector near the end of float32 is cut like any other
            scaled: Float32 = np.clip((vectors - self.mean) / self.std, -LIMIT, LIMIT)
        return scaled

    def undo(self, points: Float32) -> Float32:
        with np.errstate(over="ignore"):
            raw: Float32 = np.clip(points * self.std + self.mean, -LARGEST, LARGEST)
        return raw
