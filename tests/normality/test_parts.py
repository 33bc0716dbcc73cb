"""Windows of several things: the strangest place counts."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.parts import FIRST, MAX_BYTES, MAX_ROWS, PARTS, PLACED, Parts
from mmstream.stages import Normality
from mmstream.types import Float32

WIDTH = PLACED + 6


def make_window(seed: int, *, count: int = 8, moments: int = 2, spread: float = 1.0) -> Float32:
    """Ordinary things, well apart from each other."""
    random = np.random.default_rng(seed)
    parts = np.zeros((PARTS, WIDTH), np.float32)
    total = count * moments
    parts[:total, 0] = 1 + np.arange(total) // count
    parts[:total, 1] = (np.arange(total) % count + 0.5) / count
    parts[:total, 2] = 0.5
    parts[:total, PLACED:] = random.normal(0.0, spread, (total, WIDTH - PLACED))
    return parts.ravel()


def make_bank(windows: int = 100, **options: bool) -> Parts:
    bank = Parts(dim=PARTS * WIDTH, **options)
    for second in range(windows):
        bank.learn(make_window(second), float(second))
    return bank


def with_strange(window: Float32, moments: int = 2, *, row: float = 0.5) -> Float32:
    parts = window.reshape(PARTS, WIDTH).copy()
    for moment in range(moments):
        parts[8 * moment, PLACED:] = 6.0
        parts[8 * moment, 2] = row
    return parts.ravel()


def test_it_is_a_normality() -> None:
    assert isinstance(Parts(dim=PARTS * WIDTH), Normality)


@pytest.mark.parametrize("density", [True, False])
def test_one_strange_thing_among_ordinary_ones_is_enough(density: bool) -> None:
    bank = make_bank(density=density)
    usual = max(bank.score(make_window(seed)) for seed in range(1000, 1050))
    assert bank.score(with_strange(make_window(2000))) > 1.5 * usual


def test_what_is_strange_for_one_moment_of_four_counts_half_as_much_as_what_stays() -> None:
    bank = make_bank()
    usual = bank.score(make_window(5000, count=8, moments=4))
    brief = bank.score(with_strange(make_window(5000, count=8, moments=4), 1)) - usual
    lasting = bank.score(with_strange(make_window(5000, count=8, moments=4), 2)) - usual
    assert lasting == pytest.approx(2 * brief, rel=0.35)
    assert brief > 0.0


def test_things_next_to_each_other_are_judged_together() -> None:
    bank = make_bank()
    apart = with_strange(make_window(7), 2).reshape(PARTS, WIDTH)
    together = apart.copy()
    for moment in (1, 2):
        together[together[:, 0] == moment, 1] = 0.5
    assert bank.score(together.ravel()) < 0.6 * bank.score(apart.ravel())


def test_the_same_thing_in_another_row_of_the_picture_is_stranger() -> None:
    bank = Parts(dim=PARTS * WIDTH, density=False)
    for second in range(100):
        bank.learn(make_window(second, spread=0.05), float(second))
    near, far = make_window(500, spread=0.05).reshape(PARTS, WIDTH).copy(), None
    far = near.copy()
    far[far[:, 0] > 0, 2] = 0.9
    assert bank.score(far.ravel()) > bank.score(near.ravel()) + 0.5


def test_an_empty_scene_is_ordinary_and_teaches_only_its_count() -> None:
    bank = make_bank()
    rows = bank.num_rows
    bank.learn(np.zeros(PARTS * WIDTH, np.float32), 1000.0)
    assert bank.score(np.zeros(PARTS * WIDTH, np.float32)) == 0.0
    assert (bank.num_rows, len(bank)) == (rows, 101)


def test_nothing_is_judged_before_enough_is_known() -> None:
    bank = make_bank(FIRST // 8)
    assert bank.num_rows < FIRST
    assert bank.score(with_strange(make_window(1))) == 0.0


def test_the_bank_is_bounded_and_remembers_yesterday() -> None:
    bank = Parts(dim=PARTS * (PLACED + 48))
    random = np.random.default_rng(0)
    for second in range(1500):
        parts = np.zeros((PARTS, PLACED + 48), np.float32)
        parts[:8, 0] = 1
        parts[:8, PLACED:] = random.normal(0, 1, (8, 48))
        bank.learn(parts.ravel(), float(second))
    state = bank.state()
    assert bank.num_rows <= MAX_ROWS
    assert sum(array.nbytes for array in state.values()) <= MAX_BYTES
    # 25 minutes of ever new things: a bank that took in all of them would hold only the newest third
    assert float(np.median(state["seen_s"])) < 1000.0


def test_copies_of_one_moment_do_not_fill_the_bank() -> None:
    bank = make_bank(60)
    rows = bank.num_rows
    for second in range(200):
        bank.learn(make_window(3), 100.0 + second)
    assert bank.num_rows < rows + 40


def test_hostile_numbers_give_finite_scores() -> None:
    bank = make_bank()
    hostile = with_strange(make_window(3))
    hostile[hostile == 6.0] = 3e38
    assert np.isfinite(bank.score(hostile))
    bank.learn(hostile, 1.0)
    assert np.isfinite(bank.score(hostile))


def test_what_was_learned_is_kept_exactly() -> None:
    bank, again = make_bank(200), Parts(dim=PARTS * WIDTH)
    again.load(bank.state())
    for second in range(50):
        assert again.score(make_window(9000 + second)) == bank.score(make_window(9000 + second))
        for one in (bank, again):
            one.learn(make_window(400 + second), 300.0 + second)
    assert (again.num_rows, len(again)) == (bank.num_rows, len(bank))


def test_a_vector_that_is_no_multiple_of_parts_is_one_part() -> None:
    bank, random = Parts(dim=5), np.random.default_rng(2)
    for second in range(200):
        bank.learn(random.normal(0, 1, 5).astype(np.float32), float(second))
    assert bank.score(np.full(5, 9.0, np.float32)) > 3 * bank.score(np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="dim >= 1"):
        Parts(dim=0)
