from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.bank import FIRST, MAX_BYTES, Bank
from mmstream.stages import Normality, Remembering


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
    assert 0.7 * 64 < bank.num_rows <= 64
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


def test_what_is_remembered_is_shown_in_the_encoder_s_own_units():
    rows = normal(300, 5) * np.array([1, 10, 0.1, 5, 1], np.float32) + 3.0
    for bank in (make_bank(rows[:40]), make_bank(rows)):
        assert isinstance(bank, Remembering)
        found = bank.nearest(rows[7], 3)
        assert found[0].vector == pytest.approx(rows[7], rel=1e-3, abs=1e-3)
        assert found[0].at_s == 7.0
        assert [item.distance for item in found] == sorted(item.distance for item in found)
    assert Bank(dim=3).nearest(np.zeros(3, np.float32), 3) == []


def test_a_false_alarm_is_usual_the_next_time_and_only_that():
    random = np.random.default_rng(8)
    bank = make_bank(normal(600, 12))
    usual = np.percentile([bank.score(row) for row in normal(200, 12, seed=1)], 99)
    event, other = np.full(12, 4.0, np.float32), np.full(12, -4.0, np.float32)
    before = bank.score(event)
    for second in range(10):
        bank.absorb(event + 0.3 * random.normal(size=12).astype(np.float32), 700.0 + second)
    again = event + 0.3 * random.normal(size=12).astype(np.float32)
    assert before > 1.5 * usual
    assert bank.score(again) < usual
    assert bank.score(other) > 1.5 * usual


def test_an_absorbed_vector_can_be_forgotten_even_rounded():
    bank = make_bank(normal(300, 6))
    event = np.full(6, 5.0, np.float32)
    before = bank.score(event)
    bank.absorb(event, 400.0)
    assert bank.score(event) < 0.1 * before
    bank.forget(event.astype(np.float16).astype(np.float32))
    assert bank.score(event) == pytest.approx(before, rel=1e-6)
    bank.forget(normal(300, 6)[0])
    assert bank.num_rows == 300


def test_nothing_jumps_when_the_scale_is_refitted_at_night():
    """Dimensions have drifted since: the refit stretches scores, and the translation makes up for it."""
    bank = Bank(dim=8)
    random = np.random.default_rng(9)
    for second in range(3000):
        grown = 1.0 + 2.0 * (second / 3000) * np.array([1, 1, 0, 0, 0, 0, 0, 0])
        bank.learn((grown * random.normal(size=8)).astype(np.float32), second * 20.0)
    asked = (np.array([2, 2, 1, 1, 1, 1, 1, 1]) * random.normal(size=(300, 8))).astype(np.float32)
    before = np.array([bank.score(row) for row in asked])
    rescaled = bank.num_rescaled
    bank.learn(asked[0], 3 * 86_400.0)
    assert bank.num_rescaled == rescaled + 1
    after = np.array([bank.score(row) for row in asked])
    translated = bank.translation.offset + bank.translation.factor * before
    for quantile in (50, 90, 99):
        assert np.percentile(translated, quantile) == pytest.approx(np.percentile(after, quantile), rel=0.08)
    assert np.corrcoef(translated, after)[0, 1] > 0.8
    second_rescale = bank.num_rescaled
    bank.learn(asked[1], 3 * 86_400.0 + 60)
    assert bank.num_rescaled == second_rescale


def test_a_full_young_bank_keeps_what_it_saw_first():
    early, late = normal(100, 4) - 6.0, normal(3000, 4, seed=2) + 6.0
    bank = make_bank(np.concatenate([early, late]), max_rows=128, density=False)
    assert bank.score(np.full(4, -6.0, np.float32)) < 0.5 * bank.score(np.zeros(4, np.float32))


def test_a_bank_that_churns_is_thinned_at_night_and_absorbed_rows_stay():
    bank = make_bank(normal(5000, 3), max_rows=256)
    event = np.full(3, 9.0, np.float32)
    bank.absorb(event, 5000.0)
    for second in range(600):
        bank.learn(normal(1, 3, seed=second)[0] * 3.0, 5001.0 + second)
    assert bank.num_rows == 256
    bank.learn(np.zeros(3, np.float32), 2 * 86_400.0)
    assert bank.num_rows < 0.8 * 256
    assert bank.score(event) < 0.1


def test_numbers_that_never_varied_do_not_make_a_small_difference_infinitely_rare():
    """Blocks where nothing ever stayed: a tenth of a deviation there outweighed everything."""
    rows = np.zeros((300, 8), np.float32)
    rows[:, 0] = normal(300, 1)[:, 0]
    touched = np.zeros(8, np.float32)
    touched[5] = 0.1
    assert make_bank(rows, density=False).score(touched) > 3.0
    steady = make_bank(rows, density=False, least=0.5)
    assert steady.score(touched) < 0.5
    touched[5] = 3.0
    assert steady.score(touched) > 3.0
