"""Counts of hashed things: true while there is room, bounded beyond it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.normality.counts import MOST, Counts, hashed


def keys_of(things: list[int]) -> np.ndarray:
    return hashed(0, np.array(things, np.int64))


@given(st.lists(st.lists(st.integers(0, 300), max_size=30), max_size=20))
def test_while_there_is_room_it_counts_as_a_dictionary_does(batches: list[list[int]]) -> None:
    table, truth = Counts(2**13), Counter[int]()
    for batch in batches:
        table.add(keys_of(batch))
        truth.update(batch)
    assert table.get(keys_of(list(range(301)))).tolist() == [truth[thing] for thing in range(301)]
    assert len(table) == len(truth)


def test_what_came_often_outlives_a_flood_of_what_came_once() -> None:
    table = Counts(256)
    often = list(range(16))
    for _ in range(50):
        table.add(keys_of(often))
    table.add(keys_of(list(range(1000, 30_000))))
    assert len(table) <= 256
    assert table.get(keys_of(often)).tolist() == [50] * 16


def test_strangers_are_hardly_ever_taken_for_known() -> None:
    table = Counts(2**13)
    table.add(keys_of(list(range(6000))))
    assert np.count_nonzero(table.get(keys_of(list(range(100_000, 120_000))))) <= 20


def test_halving_forgets_what_came_once_and_keeps_proportions() -> None:
    table = Counts(64)
    table.add(keys_of([1] * 40 + [2] * 10 + [3]))
    table.halve()
    assert table.get(keys_of([1, 2, 3])).tolist() == [20, 5, 0]


def test_it_says_when_it_is_time_to_halve_and_never_overflows() -> None:
    table = Counts(64)
    for _ in range(4):
        table.add(keys_of([7] * 20_000))
    assert table.is_full
    assert MOST < table.get(keys_of([7]))[0] <= 65_535
    again = Counts(64)
    again.load(table.state())
    assert again.is_full
    table.halve()
    assert not table.is_full


def test_kinds_and_columns_are_told_apart() -> None:
    one, two = np.array([1, 2]), np.array([2, 1])
    found = np.concatenate([hashed(0, one, two), hashed(0, two, one), hashed(1, one, two), hashed(0, one)])
    # (1, 2) and (2, 1) stand in both of the first two
    assert len(set(found.tolist())) == 6


@pytest.mark.parametrize("num_entries", [0, 4, 100])
def test_a_size_that_is_no_power_of_two_is_refused(num_entries: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Counts(num_entries)
