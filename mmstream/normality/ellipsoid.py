"""One ellipsoid around all that was ever learned: its axes, its lengths, and how far outside a vector lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.scaling import STD_FLOOR
from mmstream.types import Float32, Float64

MEMORY = 604_800
"""Once so many vectors are known (a week of seconds), old ones fade."""

LIMIT = 50.0
"""Standard deviations at which a coordinate is cut."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whitening:
    """(D,) vectors -> (k,) coordinates along the ``k`` longest axes, each of variance 1; and back."""

    centre: Float32
    deviation: Float32
    axes: Float32
    """(D, k) from vectors in deviations from the centre."""

    def apply(self, vectors: Float32) -> Float32:
        with np.errstate(over="ignore"):
            scaled = np.clip((vectors - self.centre) / self.deviation, -LIMIT, LIMIT)
        whitened: Float32 = scaled @ self.axes
        return whitened

    def restore(self, points: Float32) -> Float32:
        """(n, k) -> (n, D); along all other axes at the centre."""
        # columns of one axis times one number each: orthogonal, so the inverse is the transpose over the square
        scaled = points @ (self.axes / np.square(self.axes).sum(axis=0)).T
        raw: Float32 = scaled * self.deviation + self.centre
        return raw

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {"centre": self.centre.copy(), "deviation": self.deviation.copy(), "axes": self.axes.copy()}

    @classmethod
    def of_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> Whitening:
        """Raises KeyError: these are not the arrays of a whitening."""
        centre, deviation, axes = (np.array(state[name], np.float32) for name in ("centre", "deviation", "axes"))
        return cls(centre=centre, deviation=deviation, axes=axes)


class Ellipsoid:
    """Mean and covariance of all vectors learned, as a whitening: rotated and scaled so that the cloud is round.

    The covariance is shrunk towards a multiple of the unit matrix as in Ledoit and Wolf (2004). Their estimate
    needs the fourth moment of the scaled vectors' length; it is kept as a running mean beside that of the second,
    so that no vector has to be kept. Axes are ordered from the longest to the shortest: the first few are a
    whitened PCA. Two (D, D) matrices of single precision.
    """

    def __init__(self, *, dim: int) -> None:
        self._dim = dim
        self._count = 0
        self._mean = np.zeros(dim, np.float32)
        self._covariance = np.zeros((dim, dim), np.float32)
        self._lengths = np.zeros(2, np.float64)
        """Running means of the scaled vectors' squared length, and of its square."""
        self._fitted = 0
        self._whitening = Whitening(
            centre=np.zeros(dim, np.float32), deviation=np.ones(dim, np.float32), axes=np.eye(dim, dtype=np.float32)
        )

    def __len__(self) -> int:
        return self._count

    def learn(self, vector: Float32) -> None:
        """Counts from the next `fit` on."""
        self._count += 1
        share = 1.0 / min(self._count, MEMORY)
        difference = vector - self._mean
        self._mean += np.float32(share) * difference
        self._covariance *= np.float32(1.0 - share)
        self._covariance += np.outer(np.float32(share * (1.0 - share)) * difference, difference)
        if self._fitted:
            whitening = self._whitening
            scaled = np.clip((vector - whitening.centre) / whitening.deviation, -LIMIT, LIMIT)
            squared = float(np.square(scaled, dtype=np.float64).sum())
            self._lengths += (np.array([squared, squared**2]) - self._lengths) / min(self._count - 1, MEMORY)

    def fit(self) -> None:
        """Take what was learned into account. Costs as much as a thousand calls of `distance`."""
        covariance = self._covariance.astype(np.float64)
        deviation = np.sqrt(np.diagonal(covariance))
        least = max(STD_FLOOR * float(np.median(deviation)), 1e-3 * float(np.sqrt(np.mean(self._mean**2))), 1e-6)
        deviation = np.maximum(deviation, least)
        covariance /= np.outer(deviation, deviation)
        variance = max(float(np.trace(covariance)) / self._dim, 1e-2)
        shrinkage = self._shrinkage(covariance, variance)
        spread, axes = np.linalg.eigh(covariance)
        spread = (1.0 - shrinkage) * np.maximum(spread, 0.0) + shrinkage * variance
        self._whitening = Whitening(
            centre=self._mean.copy(),
            deviation=deviation.astype(np.float32),
            axes=np.ascontiguousarray((axes / np.sqrt(spread))[:, ::-1], np.float32),
        )
        self._fitted = self._count

    def whitening(self, num_axes: int) -> Whitening:
        """As of the last `fit`, along the longest axes only."""
        whole = self._whitening
        return Whitening(
            centre=whole.centre,
            deviation=whole.deviation,
            axes=np.ascontiguousarray(whole.axes[:, :num_axes]),
        )

    def distance(self, vector: Float32) -> float:
        """Mahalanobis distance over sqrt(D): about 1 for what the ellipsoid was fitted to."""
        whitened = self._whitening.apply(vector)
        return math.sqrt(float(whitened @ whitened) / self._dim)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        state: dict[str, npt.NDArray[Any]] = {
            "mean": self._mean.copy(),
            "covariance": self._covariance.copy(),
            "lengths": self._lengths.copy(),
            "counts": np.array([self._count, self._fitted], np.int64),
        }
        return state | self._whitening.state()

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of an ellipsoid of this many dimensions."""
        self._mean[:], self._covariance[:] = state["mean"], state["covariance"]
        self._lengths[:] = state["lengths"]
        self._whitening = Whitening.of_state(state)
        self._count, self._fitted = (int(count) for count in state["counts"])

    def _shrinkage(self, covariance: Float64, variance: float) -> float:
        """In [0.01, 0.99]; before the first fit as if the vectors were Gaussian."""
        frobenius = float(np.square(covariance).sum())
        trace = float(np.trace(covariance))
        squared, fourth = self._lengths
        ratio = fourth / squared**2 if squared > 0.0 else 1.0 + 2.0 * frobenius / max(trace, 1e-9) ** 2
        noise = max(ratio * trace**2 - frobenius, 0.0) / (self._dim * self._count)
        spread = max(frobenius / self._dim - variance**2, 1e-12)
        return float(np.clip(noise / spread, 0.01, 0.99))
