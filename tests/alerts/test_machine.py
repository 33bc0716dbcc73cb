from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmstream.alerts.levels import Levels
from mmstream.alerts.machine import Machine, count_openings

LEVELS = Levels(critical=6.0, alert=4.0, low=3.0, notice=2.0)
BLOCK_S = 60.0


def run(values: list[float], *, start_s: float = 0.0, machine: Machine | None = None) -> list[str]:
    machine = machine or Machine(block_s=BLOCK_S)
    return [machine.step(start_s + i, start_s + i + 1, value, value, LEVELS) for i, value in enumerate(values)]


def test_the_states_of_an_event() -> None:
    events = run([1.0, 2.5, 5.0, 3.5, 1.0] + [1.0] * 14 + [5.0] * 60 + [5.0])
    assert events[:5] == ["idle", "suspect", "open", "extend", "hold"]
    assert events[18] == "close"
    assert events[19:78] == ["idle"] * 59
    assert events[78] == "open"


def test_a_suspicion_ends_by_itself() -> None:
    assert run([2.5, 1.0, 1.0, 1.0, 1.0]) == ["suspect", "hold", "hold", "hold", "calm"]
    assert run([2.5] * 62)[-2:] == ["calm", "suspect"]


def test_what_comes_after_a_gap_is_another_episode() -> None:
    machine = Machine(block_s=BLOCK_S)
    run([2.5], machine=machine)
    assert run([5.0], start_s=3600.0, machine=machine) == ["open"]
    assert machine.start_s == 3600.0


def test_half_an_hour_is_another_scene() -> None:
    events = run([5.0] * 1900)
    assert events.index("scene_changed") == 1801
    assert events[1802:1861] == ["idle"] * 59


@given(st.lists(st.floats(0, 8), min_size=1, max_size=400), st.integers(0, 1000))
def test_openings_are_more_than_a_block_apart_whenever_it_starts(values: list[float], start_s: int) -> None:
    opened_s = [i for i, event in enumerate(run(values, start_s=float(start_s))) if event == "open"]
    assert all(later - earlier >= BLOCK_S for earlier, later in itertools.pairwise(opened_s))


@given(st.lists(st.sampled_from([0.0, 2.5, 3.5, 5.0]), min_size=1, max_size=300))
def test_a_replay_opens_as_often_as_the_machine_did(values: list[float]) -> None:
    machine, cell_s = Machine(block_s=BLOCK_S), 15.0
    lived = sum(
        machine.step(i * cell_s, (i + 1) * cell_s, value, value, LEVELS) == "open" for i, value in enumerate(values)
    )
    replayed = count_openings(
        np.arange(len(values)) * cell_s, np.array(values), cell_s=cell_s, alert=4.0, low=3.0, block_s=BLOCK_S
    )
    assert replayed == lived
