"""One ellipsoid around the first few windows: what is normal while there is too little for neighbours."""

from __future__ import annotations

import math

import numpy as np

from mmstream.normality.scaling import Scaling
from mmstream.types import Float32, Float64

MIN_ROWS = 8
REFIT_GROWTH = 8
"""Fitted again when an eighth more is known: fitting costs fifty times as much as scoring."""


class Gaussian:
    """Mahalanobis distance under the Ledoit-Wolf covariance of at most ``capacity`` vectors.

    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    2004: ``(1 - shrinkage) S + shrinkage * mean_variance * I``. There are fewer vectors than
    dimensions, so the inverse goes through the (n, n) Gram matrix (Woodbury) and no (D, D) matrix
    is ever made.
    """

    def __init__(self, *, dim: int, capacity: int = 64, least: float = 0.0) -> None:
        self._least = least
        self._rows = np.zeros((capacity, dim), np.float32)
        self._size = 0
        self._fitted = 0

    @property
    def rows(self) -> Float32:
        """(n, D) the vectors as they came, oldest first."""
        return self._rows[: self._size]

    def __len__(self) -> int:
        return self._size

    def score(self, vector: Float32) -> float:
        """Mahalanobis distance divided by sqrt(D); 0.0 before `MIN_ROWS` vectors are known."""
        if self._size < MIN_ROWS:
            return 0.0
        if self._size - self._fitted > self._fitted // REFIT_GROWTH:
            self._fit()
        point = self._scaling.apply(vector).astype(np.float64)
        against = self._points @ point
        squared = float(point @ point - against @ self._inverse @ against) / self._ridge
        return math.sqrt(max(squared, 0.0) / len(point))

    def learn(self, vector: Float32, at_s: float) -> None:  # noqa: ARG002 (every normality is told when)
        if self._size < len(self._rows):
            self._rows[self._size] = vector
            self._size += 1

    def state(self) -> Float32:
        return self.rows.copy()

    def load(self, rows: Float32) -> None:
        self._size = min(len(rows), len(self._rows))
        self._rows[: self._size] = rows[: self._size]
        self._fitted = 0

    def _fit(self) -> None:
        self._scaling = Scaling.of(self.rows, self._least)
        self._points = self._scaling.apply(self.rows).astype(np.float64)
        gram = self._points @ self._points.T
        shrinkage, variance = ledoit_wolf(gram, self._points.shape[1])
        count = len(gram)
        self._ridge = shrinkage * variance
        loading = count * self._ridge / (1.0 - shrinkage)
        self._inverse = np.linalg.inv(gram + loading * np.eye(count))
        self._fitted = self._size


def ledoit_wolf(gram: Float64, dim: int) -> tuple[float, float]:
    """-> (shrinkage in [0.01, 0.99], mean variance > 0) from the (n, n) Gram matrix of centred rows."""
    count = len(gram)
    squares = np.diagonal(gram)
    variance = max(float(squares.sum()) / (count * dim), 1e-2)
    frobenius = float((gram**2).sum()) / count**2
    spread = max(frobenius / dim - variance**2, 1e-12)
    noise = max(float((squares**2).sum()) / count - frobenius, 0.0) / (count * dim)
    return float(np.clip(noise / spread, 0.01, 0.99)), variance
