from __future__ import annotations

import numpy as np

from mmstream.normality.value import Value
from mmstream.stages import Normality


def test_the_first_number_is_the_score():
    value = Value(dim=3)
    assert isinstance(value, Normality)
    assert value.score(np.array([2.5, 9.0, 9.0], np.float32)) == 2.5


def test_hostile_numbers_stay_finite_in_single_precision():
    value = Value(dim=1)
    assert np.isfinite(np.float32(value.score(np.array([3.4e38], np.float32))) * np.float32(1e6))


def test_it_counts_what_it_learned_and_keeps_the_count():
    value, again = Value(dim=1), Value(dim=1)
    value.learn(np.zeros(1, np.float32), 1.0)
    again.load(value.state())
    assert len(again) == len(value) == 1
