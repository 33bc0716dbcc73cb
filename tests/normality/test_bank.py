from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.bank import FIRST, MAX_BYTES, Bank
from mmstream.stages import Normality


def make_bank(rows: np.ndarray, **options: object) -> Bank:
    bank = Bank(dim=rows.shape[1], **options)
    for second, row in enumerate(rows):
        bank.learn(row.astype(np.float32), float(second))
    return bank


def normal(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_it_is_a_normality():
    assert isinstance(Bank(dim=3), Normality)


@pytest.mark.parametrize("count", [20, 100, 700])
@pytest.mark.parametrize("density", [True, False])
def test_an_outlier_scores_far_above_what_is_usual(count, density):
    bank = make_bank(normal(count, 12), density=density)
    usual = [bank.score(row) for row in normal(200, 12, seed=1)]
    assert bank.score(np.full(12, 4.0, np.float32)) > 1.3 * max(usual)


def test_nothing_is_known_at_first():
    bank = Bank(dim=4)
    assert bank.score(np.ones(4, np.float32)) == 0.0
    assert len(bank) == 0


def test_distances_are_those_of_an_exhaustive_search():
    rows = normal(FIRST, 6)
    bank = make_bank(rows, density=False)
    query = normal(1, 6, seed=5)[0]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    distances = np.sort(np.linalg.norm((rows - mean) / std - (query - mean) / std, axis=1))
    assert bank.score(query) == pytest.approx(distances[:5].mean(), rel=1e-4)


def test_the_scale_of_a_dimension_does_not_matter():
    rows = normal(300, 5)
    scale = np.array([0.5, 1.0, 20.0, 2.0, 5.0], np.float32)
    query = normal(1, 5, seed=7)[0]
    assert make_bank(rows * scale).score(query * scale) == pytest.approx(make_bank(rows).score(query), rel=1e-3)


def test_a_constant_dimension_does_not_explode():
    rows = normal(200, 8)
    rows[:, 3] = 0.0
    nudged = np.zeros(8, np.float32)
    nudged[3] = 0.05
    bank = make_bank(rows, density=False)
    assert bank.score(nudged) < 2.0 * bank.score(np.zeros(8, np.float32))


def test_a_frozen_picture_and_a_hostile_vector_give_finite_scores():
    bank = make_bank(np.ones((400, 6), np.float32))
    assert bank.score(np.ones(6, np.float32)) == pytest.approx(0.0, abs=1e-3)
    assert np.isfinite(bank.score(np.full(6, 3e38, np.float32)))


def test_a_looped_moment_does_not_make_its_surroundings_look_far():
    spread = normal(300, 4)
    looped = np.repeat(normal(1, 4, seed=9) * 0.1, 600, axis=0) + 1e-4 * normal(600, 4, seed=10)
    bank = make_bank(np.concatenate([spread, looped]))
    near = looped[0] + np.float32(0.05)
    assert bank.score(near) < 1.0


def test_repeated_moments_are_merged_and_memory_is_bounded():
    bank = make_bank(np.tile(normal(200, 4), (10, 1)), max_rows=256)
    assert bank.num_rows <= 256
    assert len(bank) == 2000
    assert len(Bank(dim=400).state()["mean"]) == 400
    wide = make_bank(normal(800, 400))
    assert wide.num_rows * 400 * 4 <= MAX_BYTES


def test_a_full_bank_slows_down_so_that_it_remembers_yesterday():
    bank = make_bank(normal(6000, 3), max_rows=64)
    assert bank.num_rows == 64
    inserted = bank.state()["counts"][1]
    for second, row in enumerate(normal(4000, 3, seed=2)):
        bank.learn(row, 6000.0 + second)
    assert bank.state()["counts"][1] - inserted < 0.1 * 4000


@pytest.mark.parametrize("count", [5, 40, 64, 65, 300])
def test_a_loaded_bank_goes_on_exactly_like_the_first(count):
    first = make_bank(normal(count, 7), max_rows=128)
    second = Bank(dim=7, max_rows=128)
    second.load(first.state())
    for at_s, row in enumerate(normal(200, 7, seed=3), start=count):
        assert second.score(row) == first.score(row)
        first.learn(row, float(at_s))
        second.learn(row, float(at_s))


def test_its_own_scores_look_like_those_of_new_windows():
    bank = make_bank(normal(FIRST, 10))
    new = [bank.score(row) for row in normal(500, 10, seed=4)]
    assert np.median(bank.self_scores()) == pytest.approx(np.median(new), rel=0.1)
