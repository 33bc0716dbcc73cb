"""Which vectors of two kinds go together: two linear maps learned from pairs, and how badly a new pair matches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32, Float64

APART_S = 60.0
"""Pairs so far apart in time, and the nearest such, are what a true pair is told from: the same scene at another
moment. Much farther ones would be told apart by the time of the day alone."""

NUM_OTHERS = 7
"""Odd, so that beating most of them is an even chance where nothing is linked."""

MAX_PARTS = 16
"""Principal components of each side at most."""
ROWS_PER_PART = 12
RIDGE = 0.05
"""Of the mean variance, added to that of every component before it is divided out."""
MAX_LINKS = 6
MAX_CORRELATION = 0.98
FAR = 4.0
"""Standard deviations beyond which a number says no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """A map of one kind of vector to numbers of mean 0 and variance 1:
    ``arcsinh((x - mean) * gain) @ directions - middle``."""

    mean: Float32
    gain: Float32
    directions: Float32
    """(D, k)."""
    middle: Float32

    def __call__(self, rows: Float32) -> Float64:
        """(n, D) -> (n, k), within `FAR`."""
        mapped = np.arcsinh((rows - self.mean) * self.gain) @ self.directions - self.middle
        numbers: Float64 = np.clip(mapped, -FAR, FAR).astype(np.float64)
        return numbers


_SIDE_FIELDS = dataclasses.fields(Side)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """Canonical correlation analysis (Hotelling, 1936) as a matcher.

    The mismatch of a pair is its negative log-likelihood ratio, "these belong together" against "each by itself", for
    normal variables of which the k-th two have correlation r_k:
    ``sum_k 1/2 log(1 - r^2) + (r^2 (u^2 + v^2) - 2 r u v) / (2 (1 - r^2))``. A loud sound in front of a still
    picture is far off, each being ordinary; loud and busy go together.
    """

    left: Side
    right: Side
    correlations: Float64
    """(k,), falling, in (0, 1)."""

    def mismatches(self, left: Float32, right: Float32) -> Float64:
        """(n, D), (m, E) -> (n, m): of every one with every one."""
        u, v = self.left(left), self.right(right)
        r = self.correlations
        squared = r**2
        share = squared / (2.0 * (1.0 - squared))
        own = (u**2 @ share)[:, None] + (v**2 @ share)[None, :]
        together = (u * (r / (1.0 - squared))) @ v.T
        mismatches: Float64 = 0.5 * float(np.log1p(-squared).sum()) + own - together
        return mismatches

    def state(self) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {"correlations": self.correlations}
        for name, side in (("left", self.left), ("right", self.right)):
            arrays |= {f"{name}.{field.name}": getattr(side, field.name) for field in _SIDE_FIELDS}
        return arrays

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> Adapter:
        """Raises KeyError: the arrays are not those of an adapter."""
        left, right = (
            Side(**{field.name: np.asarray(state[f"{name}.{field.name}"], np.float32) for field in _SIDE_FIELDS})
            for name in ("left", "right")
        )
        return cls(left=left, right=right, correlations=np.asarray(state["correlations"], np.float64))


class Cosine:
    """For two vectors of the same model, which has learned elsewhere what belongs together: 1 - cosine."""

    def mismatches(self, left: Float32, right: Float32) -> Float64:
        """(n, D), (m, D) -> (n, m)."""
        u, v = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) for rows in (left, right))
        mismatches: Float64 = (1.0 - u @ v.T).astype(np.float64)
        return mismatches


def others(at_s: Float64) -> npt.NDArray[np.intp]:
    """(n, `NUM_OTHERS`): for each of n moments in order those at least `APART_S` away that are nearest, before and
    after in turn; -1 where there are not enough."""
    count = len(at_s)
    before = np.searchsorted(at_s, at_s - APART_S, side="right")[:, None] - 1 - np.arange(NUM_OTHERS)
    after = np.searchsorted(at_s, at_s + APART_S, side="left")[:, None] + np.arange(NUM_OTHERS)
    in_turn = np.stack([before, after], axis=2).reshape(count, 2 * NUM_OTHERS)
    missing = (in_turn < 0) | (in_turn >= count)
    order = np.argsort(missing, axis=1, kind="stable")[:, :NUM_OTHERS]
    chosen = np.take_along_axis(in_turn, order, axis=1)
    return np.where(np.take_along_axis(missing, order, axis=1), -1, chosen)


def fit(left: Float32, right: Float32, at_s: Float64) -> Adapter | None:
    """Learn from n true pairs, (n, D) and (n, E), of moments ``at_s`` in order; None where no link stands out.

    What both sides share with the pairs of other moments - night and day, a week of rain - is taken from their
    covariance: the microphone that hears another street is loud at noon, too. A link must exceed the largest
    correlation that independent noise of as many dimensions shows (Wachter, 1980), for as many independent pairs as
    there are by Bartlett's formula (1946) for autocorrelated ones, and is drawn towards 0 by as much.
    """
    away = others(at_s)
    usable = (away >= 0).all(axis=1)
    count = len(left)
    num_parts = min(MAX_PARTS, count // ROWS_PER_PART)
    if num_parts < 1 or 2 * int(usable.sum()) < count:
        return None
    x, mean_x, gain_x, parts_x = _whitened(left, num_parts)
    y, mean_y, gain_y, parts_y = _whitened(right, num_parts)
    if not x.shape[1] or not y.shape[1]:
        return None
    shared = x[usable].T @ (y[usable] - y[away[usable]].mean(axis=1)) / usable.sum()
    into_x, strengths, into_y = np.linalg.svd(shared, full_matrices=False)
    noise = _noise(x.shape[1], y.shape[1], count / _redundancy(x, y))
    squared = np.maximum(strengths**2 - noise**2, 0.0) / (1.0 - noise**2) if noise < 1.0 else np.zeros(1)
    num_links = min(int(np.count_nonzero(squared > 0.0)), MAX_LINKS)
    if not num_links:
        return None
    return Adapter(
        left=_side(mean_x, gain_x, parts_x @ into_x[:, :num_links], left),
        right=_side(mean_y, gain_y, parts_y @ into_y[:num_links].T, right),
        correlations=np.minimum(np.sqrt(squared[:num_links]), MAX_CORRELATION),
    )


def _whitened(rows: Float32, num_parts: int) -> tuple[Float64, Float32, Float32, Float64]:
    """-> (n, k) principal components of variance about 1, and (mean, gain, (D, k) map) that give them."""
    mean = rows.mean(axis=0)
    spread = rows.std(axis=0)
    gain = np.where(spread > 1e-5, 1.0 / np.maximum(spread, 1e-5), 0.0).astype(np.float32)
    scaled = np.arcsinh((rows - mean) * gain).astype(np.float64)
    scaled -= scaled.mean(axis=0)
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(rows))
    kept = np.argsort(variances)[::-1][:num_parts]
    kept = kept[variances[kept] > 1e-6]
    map_to = axes[:, kept] / np.sqrt(variances[kept] + RIDGE * variances.mean())
    return scaled @ map_to, mean, gain, map_to


def _side(mean: Float32, gain: Float32, directions: Float64, rows: Float32) -> Side:
    mapped = np.arcsinh((rows - mean) * gain) @ directions
    spread = np.maximum(mapped.std(axis=0), 1e-6)
    return Side(
        mean=mean,
        gain=gain,
        directions=(directions / spread).astype(np.float32),
        middle=(mapped.mean(axis=0) / spread).astype(np.float32),
    )


def _redundancy(x: Float64, y: Float64) -> float:
    """How many pairs in a row say what one independent pair would: (1 + a b) / (1 - a b), from the largest
    autocorrelations a and b of the components from one pair to the next."""
    a, b = (float(np.max((rows[1:] * rows[:-1]).mean(axis=0) / (rows**2).mean(axis=0))) for rows in (x, y))
    product = min(max(a, 0.0) * max(b, 0.0), 0.95)
    return (1.0 + product) / (1.0 - product)


def _noise(num_x: int, num_y: int, count: float) -> float:
    """The largest sample correlation of independent normal variables, for many of them: Wachter's upper edge."""
    x, y = num_x / count, num_y / count
    if x >= 1.0 or y >= 1.0:
        return 1.0
    return min(1.0, math.sqrt(x * (1.0 - y)) + math.sqrt(y * (1.0 - x)))
