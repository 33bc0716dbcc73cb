"""Channels of one aspect are taken together from when they can be; before that, nobody is silenced by the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmstream.normality.history import MIN_SCORES
from mmstream.normality.memory import YOUNG, Memory
from mmstream.types import AlignedWindow, Channel, Embedding, Evidence

OLD = Channel(name="motion", modality="picture", normality="value", aspect="movement")
NEW = Channel(name="expectation", modality="picture", normality="value", aspect="movement", weight=0.5)
LONE = {"motion": OLD}
BOTH = {"motion": OLD, "expectation": NEW}


def make_window(number: int, values: Mapping[str, float]) -> AlignedWindow:
    return AlignedWindow(
        feed_id="cam",
        start_s=float(number),
        end_s=number + 2.0,
        embeddings=tuple(
            Embedding(
                feed_id="cam",
                start_s=float(number),
                end_s=number + 2.0,
                channel=name,
                vector=np.array([value], np.float32),
                model=f"{name}@1",
            )
            for name, value in values.items()
        ),
    )


class Watched:
    """A memory, and what it says of one window after the other."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self.memory = Memory(channels)
        self._random = np.random.default_rng(0)
        self._number = 0

    def see(self, *channels: str, **values: float) -> list[Evidence]:
        ordinary = dict(zip(channels, self._random.exponential(size=len(channels)), strict=True))
        weighed = self.memory.weigh(make_window(self._number, ordinary | values))
        if not values:
            self.memory.keep(weighed.lesson, hold=False)
        self._number += 1
        return list(weighed.aspects)


def test_a_channel_that_says_nothing_yet_changes_nothing() -> None:
    alone, beside = Watched(LONE), Watched(BOTH)
    for _ in range(200):
        said, beside_it = alone.see("motion"), beside.see("motion")
        assert [item.p for item in said] == [item.p for item in beside_it]
        assert {item.channel for item in beside_it} <= {"movement"}
    assert said


def test_one_that_begins_late_does_not_silence_the_one_that_is_known() -> None:
    watched = Watched(BOTH)
    for _ in range(400):
        watched.see("motion")
    for number in range(2 * MIN_SCORES):
        said = watched.see("motion", "expectation")
        assert [item.channel for item in said] == ["movement"], number
    (unusual,) = watched.see("expectation", motion=30.0)
    (usual,) = watched.see("expectation", motion=1.0)
    assert unusual.p < 0.01 < usual.p, "what has been known for long goes on speaking"


def test_once_enough_is_known_of_both_together_either_can_be_heard() -> None:
    watched = Watched(BOTH)
    for _ in range(400):
        watched.see("motion")
    for _ in range(MIN_SCORES + 400 // YOUNG + 200):
        watched.see("motion", "expectation")
    (by_the_new,) = watched.see(motion=1.0, expectation=30.0)
    (by_the_old,) = watched.see(motion=30.0, expectation=1.0)
    (by_none,) = watched.see(motion=1.0, expectation=1.0)
    assert max(by_the_new.p, by_the_old.p) < 0.05 < by_none.p


def test_when_the_new_one_is_taken_away_again_the_other_is_judged_by_itself_at_once() -> None:
    watched = Watched(BOTH)
    for _ in range(600):
        watched.see("motion", "expectation")
    (unusual,) = watched.see(motion=30.0)
    (usual,) = watched.see(motion=0.1)
    assert unusual.p < 0.01
    assert usual.p > 0.5
