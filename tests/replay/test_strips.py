"""A past out of the rows of strips."""

from __future__ import annotations

import numpy as np

from mmstream.replay.strips import past_of
from mmstream.storage.strip_rows import strip_rows, unpacked_rows
from tests.storage.moments import make_moment
from tests.storage.test_strip_rows import DAY, make_strip


def test_nothing_is_a_past_too() -> None:
    past = past_of("gate", [])
    assert (len(past), past.blocks_s.tolist(), past.first.tolist(), past.aspects) == (0, [], [0], ())


def test_blocks_and_their_windows_stand_in_order_of_time() -> None:
    strips = [make_strip(DAY + 600.0, 2), make_strip(DAY, 4), make_strip(DAY + 300.0, 3)]
    table = strip_rows([make_moment(strips=tuple(strips))])
    assert table is not None
    past = past_of("gate", unpacked_rows("gate", table))
    assert past.blocks_s.tolist() == [DAY, DAY + 300.0, DAY + 600.0]
    assert past.first.tolist() == [0, 4, 7, 9]
    assert np.all(np.diff(past.end_s) > 0)
    assert np.all((past.end_s[:4] > DAY) & (past.end_s[:4] <= DAY + 300.0))


def test_a_block_that_two_processes_saw_is_put_together() -> None:
    whole = make_strip(DAY, 6, covered_s=290.0)
    deaf = make_strip(
        DAY, 6, covered_s=200.0, aspects=(("look", "picture", 1.0),), windows=make_strip(DAY, 6).windows[3:, :5]
    )
    begun = make_strip(DAY, windows=whole.windows[:3], covered_s=90.0)
    tables = [strip_rows([make_moment(strips=strips)]) for strips in ((whole,), (begun, deaf))]
    once, twice = (past_of("gate", unpacked_rows("gate", table)) for table in tables if table is not None)
    assert twice.blocks_s.tolist() == [DAY]
    assert (twice.first.tolist(), twice.covered_s.tolist()) == ([0, 6], [290.0])
    np.testing.assert_array_equal(twice.end_s, once.end_s)
    np.testing.assert_array_equal(twice.value, once.value)
    np.testing.assert_array_equal(np.isnan(twice.heights), [[False, False]] * 3 + [[False, True]] * 3)
