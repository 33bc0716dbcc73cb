"""The ellipsoid against NumPy's covariance, its whitening and what it forgets."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.ellipsoid import Ellipsoid
from mmstream.types import Float32


def cloud(count: int, dim: int, seed: int = 0) -> Float32:
    """Correlated, of very different sizes per coordinate, about a mean that is not 0."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) * np.geomspace(0.2, 5.0, dim)
    points: Float32 = (random.normal(size=(count, dim)) @ mixing + np.linspace(-60, -20, dim)).astype(np.float32)
    return points


def make_ellipsoid(rows: Float32) -> Ellipsoid:
    ellipsoid = Ellipsoid(dim=rows.shape[1])
    for number, row in enumerate(rows):
        ellipsoid.learn(row)
        if number in (len(rows) // 2, len(rows) - 1):
            ellipsoid.fit()
    return ellipsoid


def test_with_much_history_it_is_the_mahalanobis_distance_of_the_sample_covariance():
    rows = cloud(4000, 6)
    ellipsoid = make_ellipsoid(rows)
    inverse = np.linalg.inv(np.cov(rows.astype(np.float64).T))
    for query in cloud(20, 6, seed=1):
        difference = query - rows.mean(axis=0)
        exact = float(np.sqrt(difference @ inverse @ difference / 6))
        assert ellipsoid.distance(query) == pytest.approx(exact, rel=0.1)


def test_with_fewer_vectors_than_dimensions_new_ones_stay_within_reach():
    rows = cloud(64, 195)
    ellipsoid = make_ellipsoid(rows)
    usual = [ellipsoid.distance(row) for row in cloud(100, 195, seed=2)]
    assert np.isfinite(usual).all()
    assert max(usual) < 5.0
    assert ellipsoid.distance(rows[0] + np.float32(200.0)) > 2 * max(usual)


def test_whitened_coordinates_are_uncorrelated_and_the_longest_axes_come_first():
    rows = cloud(3000, 8)
    whitening = make_ellipsoid(rows).whitening(3)
    points = np.stack([whitening.apply(row) for row in rows])
    assert points.shape == (3000, 3)
    np.testing.assert_allclose(np.cov(points.T), np.eye(3), atol=0.1)
    lost = [np.square(rows - make_ellipsoid(rows).whitening(k).restore(points[:, :k])).sum() for k in (1, 3)]
    assert lost[1] < lost[0]


def test_restored_from_all_coordinates_a_vector_is_what_it_was():
    rows = cloud(500, 8)
    whitening = make_ellipsoid(rows).whitening(8)
    np.testing.assert_allclose(whitening.restore(whitening.apply(rows)), rows, atol=1e-2)


def test_it_goes_on_from_its_state_exactly():
    rows = cloud(300, 12)
    first, second = make_ellipsoid(rows), Ellipsoid(dim=12)
    second.load(first.state())
    for row in cloud(50, 12, seed=3):
        assert first.distance(row) == second.distance(row)
        first.learn(row)
        second.learn(row)
    first.fit()
    second.fit()
    assert first.distance(rows[0]) == second.distance(rows[0])


def test_a_constant_coordinate_and_a_wild_vector_stay_finite():
    rows = cloud(200, 5)
    rows[:, 2] = -100.0
    ellipsoid = make_ellipsoid(rows)
    assert np.isfinite(ellipsoid.distance(np.full(5, 1e30, np.float32)))
