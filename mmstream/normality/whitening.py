"""The space that a bank's distances are measured in: turned to a feed's own longest axes, each of variance 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmstream.normality.gaussian import ledoit_wolf
from mmstream.types import Float32

MAX_AXES = 64


def num_axes(dim: int) -> int:
    return min(MAX_AXES, dim)


def num_coordinates(dim: int) -> int:
    """One more where there are more dimensions than axes: how far from all of these a vector is."""
    return num_axes(dim) + (dim > MAX_AXES)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axes:
    """(D,) vectors of one scale -> coordinates along the longest axes of their covariance, each of variance 1.

    The covariance is shrunk as Ledoit and Wolf (2004) do: short axes, of which few rows say little, are not blown up.
    What lies off all axes is not lost (something new often does): the length of it is the last coordinate, in
    the deviations that are usual there.

    >>> axes = Axes.of(np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32) * np.float32([3, 1]))
    >>> axes.apply(np.array([[3, 0], [0, 1]], np.float32)).shape
    (2, 2)
    """

    turn: Float32
    """(D, k) orthonormal columns."""
    deviations: Float32
    """(k,), > 0: along each axis, and the last one off all of them where there are more dimensions than axes."""

    @classmethod
    def of(cls, scaled: Float32) -> Axes:
        """From (n, D) rows, n >= 2, each number brought to one scale. Costs one decomposition of the smaller side."""
        centred = (scaled - scaled.mean(axis=0)).astype(np.float64)
        count, dim = centred.shape
        gram = centred @ centred.T
        shrinkage, variance = ledoit_wolf(gram, dim)
        if count < dim:
            squares, turned = np.linalg.eigh(gram)
            kept = squares > 1e-9 * max(float(squares[-1]), 1e-9)
            squares, turn = squares[kept], centred.T @ (turned[:, kept] / np.sqrt(squares[kept]))
        else:
            squares, turn = np.linalg.eigh(centred.T @ centred)
        count_axes = num_axes(dim)
        spread, turn = np.maximum(squares[::-1], 0.0)[:count_axes] / count, turn[:, ::-1][:, :count_axes]
        if len(spread) < count_axes:  # fewer rows than axes: the others are any that are orthogonal to these
            spread = np.concatenate([spread, np.zeros(count_axes - len(spread))])
            turn = np.linalg.qr(np.concatenate([turn, np.eye(dim)], axis=1))[0][:, :count_axes]
        total = float(np.trace(gram)) / count
        deviations = np.sqrt((1.0 - shrinkage) * spread + shrinkage * variance)
        if dim > count_axes:
            rest = max(total - float(spread.sum()), 0.0) / (dim - count_axes)
            deviations = np.append(deviations, np.sqrt((1.0 - shrinkage) * rest + shrinkage * variance))
        return cls(turn=np.ascontiguousarray(turn, np.float32), deviations=deviations.astype(np.float32))

    def apply(self, scaled: Float32) -> Float32:
        """(..., D) -> (..., `num_coordinates`)"""
        along = scaled @ self.turn
        if len(self.deviations) > along.shape[-1]:
            off = np.square(scaled).sum(axis=-1) - np.square(along).sum(axis=-1)
            along = np.concatenate([along, np.sqrt(np.maximum(off, 0.0))[..., None]], axis=-1)
        whitened: Float32 = (along / self.deviations).astype(np.float32)
        return whitened
