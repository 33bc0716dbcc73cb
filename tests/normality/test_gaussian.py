from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.gaussian import Gaussian, ledoit_wolf


def shrinkage_by_definition(rows: np.ndarray) -> float:
    """Ledoit and Wolf (2004), written out with the (D, D) matrices."""
    count, dim = rows.shape
    sample = rows.T @ rows / count
    variance = np.trace(sample) / dim
    spread = ((sample - variance * np.eye(dim)) ** 2).sum() / dim
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() for row in rows) / (count**2 * dim)
    return min(noise, spread) / spread


@pytest.mark.parametrize(("count", "dim"), [(20, 5), (60, 40), (40, 200)])
def test_shrinkage_is_that_of_the_paper(count, dim):
    random = np.random.default_rng(3)
    rows = random.normal(size=(count, dim)) * random.uniform(0.5, 2.0, dim)
    rows -= rows.mean(axis=0)
    shrinkage, variance = ledoit_wolf(rows @ rows.T, dim)
    assert shrinkage == pytest.approx(np.clip(shrinkage_by_definition(rows), 0.01, 0.99), rel=1e-6)
    assert variance == pytest.approx(rows.var(axis=0).mean())


def test_the_distance_is_that_under_the_full_covariance():
    random = np.random.default_rng(4)
    rows = random.normal(size=(40, 6)).astype(np.float32)
    gaussian = Gaussian(dim=6)
    for row in rows:
        gaussian.learn(row, 0.0)
    points = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    shrinkage, variance = ledoit_wolf(points @ points.T, 6)
    covariance = (1 - shrinkage) * points.T @ points / 40 + shrinkage * variance * np.eye(6)
    query = (np.full(6, 2.0) - rows.mean(axis=0)) / rows.std(axis=0)
    expected = np.sqrt(query @ np.linalg.solve(covariance, query) / 6)
    assert gaussian.score(np.full(6, 2.0, np.float32)) == pytest.approx(expected, rel=1e-3)


def test_what_breaks_a_correlation_is_further_than_what_keeps_it():
    random = np.random.default_rng(5)
    common = random.normal(size=(60, 1))
    gaussian = Gaussian(dim=2)
    for row in (common + 0.1 * random.normal(size=(60, 2))).astype(np.float32):
        gaussian.learn(row, 0.0)
    assert gaussian.score(np.array([1.5, -1.5], np.float32)) > 3 * gaussian.score(np.array([1.5, 1.5], np.float32))


def test_constant_vectors_give_finite_distances():
    gaussian = Gaussian(dim=3)
    for _ in range(30):
        gaussian.learn(np.ones(3, np.float32), 0.0)
    assert gaussian.score(np.ones(3, np.float32)) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(gaussian.score(np.full(3, 1e30, np.float32)))
