"""What is shown beside an alert: where it is, and the normal moments most like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pytest

from mmstream.explanation import Explainer
from mmstream.stages import Neighbour
from mmstream.types import AlignedWindow, Channel, Embedding, Evidence, Float32, Modality, Where

NOW_S = 1_700_000_000.0
HERE = "tests.test_explanation"


class FakeMemory:
    """Neighbours by channel: at these times, nearest first."""

    def __init__(self, times_s: Mapping[str, Sequence[float]]) -> None:
        self._times_s = times_s

    def neighbours(self, channel: str, vector: Float32, count: int) -> list[Neighbour]:
        times_s = self._times_s.get(channel, ())[:count]
        return [Neighbour(at_s=at_s, distance=1.0 + n, vector=0.5 * vector) for n, at_s in enumerate(times_s)]


def make_window(channels: Sequence[str]) -> AlignedWindow:
    embeddings = tuple(
        Embedding(
            feed_id="cam",
            start_s=NOW_S - 2,
            end_s=NOW_S,
            channel=channel,
            vector=np.ones(148, np.float32),
            model=f"{channel}@1",
        )
        for channel in channels
    )
    return AlignedWindow(feed_id="cam", start_s=NOW_S - 2, end_s=NOW_S, embeddings=embeddings)


def make_evidence(modality: Modality = "picture", **p: float) -> list[Evidence]:
    return [Evidence(channel=channel, modality=modality, p=value) for channel, value in p.items()]


def times_of(explainer: Explainer, memory: FakeMemory, **p: float) -> list[float]:
    explanation = explainer(make_window(list(p)), make_evidence(**p), memory)
    return [moment.at_s - NOW_S for moment in explanation.normal]


def ago(*seconds: float) -> list[float]:
    return [NOW_S - passed_s for passed_s in seconds]


def kept(*seconds: float) -> list[int]:
    return sorted(round((NOW_S - passed_s) * 1000) for passed_s in seconds)


def test_the_three_nearest_moments_are_a_minute_apart_and_not_of_the_event_itself() -> None:
    memory = FakeMemory({"motion": ago(5, 100, 110, 300, 120, 3000, 9000)})
    assert times_of(Explainer(), memory, motion=1e-4) == [-100, -300, -3000]


def test_moments_with_a_picture_come_before_nearer_ones_without() -> None:
    explainer = Explainer(kept_ms=lambda feed_id: kept(304, 3000, 9000) if feed_id == "cam" else [])
    memory = FakeMemory({"motion": ago(100, 300, 500, 3000, 9000)})
    explanation = explainer(make_window(["motion"]), make_evidence(motion=1e-4), memory)
    assert [moment.at_s - NOW_S for moment in explanation.normal] == [-300, -3000, -9000]
    assert explanation.normal[0].picture == f"feeds/cam/moments/{kept(304)[0]}.jpg"


def test_where_all_happened_at_once_three_moments_are_shown_nevertheless() -> None:
    memory = FakeMemory({"motion": ago(100, 110, 120, 130)})
    assert times_of(Explainer(), memory, motion=1e-4) == [-100, -120]
    assert times_of(Explainer(), FakeMemory({"motion": ago(100, 120, 140)}), motion=1e-4) == [-100, -120, -140]


def test_the_channels_that_carry_the_surprise_are_asked_in_turn() -> None:
    memory = FakeMemory({"motion": ago(100, 200, 300), "sound": ago(1000, 2000), "appearance": ago(5000)})
    assert times_of(Explainer(), memory, motion=1e-4, sound=1e-3, appearance=0.9) == [-100, -1000, -200]


def test_a_channel_that_remembers_nothing_leaves_the_moments_to_the_others() -> None:
    memory = FakeMemory({"appearance": ago(100, 200, 300, 400)})
    assert times_of(Explainer(), memory, motion=1e-6, appearance=0.8) == [-100, -200, -300]


class Pointing:
    """Loaded by name, as an encoder of the user's own."""

    channel: ClassVar[Channel] = Channel(name="motion", modality="picture")
    asked: ClassVar[list[tuple[Float32, Float32 | None]]] = []

    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:
        Pointing.asked.append((vector, usual))
        return Where(region=(0.1, 0.2, 0.3, 0.4))


class Clumsy(Pointing):
    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:
        raise ValueError(f"cannot point at {len(vector)} numbers with {usual}")


def test_an_encoder_points_by_comparing_with_the_nearest_normal_vector() -> None:
    Pointing.asked.clear()
    explainer = Explainer(encoders=[f"{HERE}:Pointing"])
    explanation = explainer(make_window(["motion"]), make_evidence(motion=1e-4), FakeMemory({"motion": ago(100)}))
    assert explanation.where["motion"].region == (0.1, 0.2, 0.3, 0.4)
    [(vector, usual)] = Pointing.asked
    assert usual is not None
    np.testing.assert_array_equal(usual, 0.5 * vector)


@pytest.mark.parametrize(("p", "points"), [(1e-2, True), (0.3, False)])
def test_an_ordinary_channel_points_at_nothing(p: float, points: bool) -> None:
    explainer = Explainer(encoders=[f"{HERE}:Pointing"])
    evidence = make_evidence("sound", sound=1e-8) + make_evidence(motion=p)
    explanation = explainer(make_window(["sound", "motion"]), evidence, FakeMemory({}))
    assert bool(explanation.where) is points


def test_an_explanation_that_fails_is_empty_and_counted_and_costs_no_alert() -> None:
    explainer = Explainer(encoders=[f"{HERE}:Clumsy"])
    explanation = explainer(make_window(["motion"]), make_evidence(motion=1e-4), FakeMemory({}))
    assert (explanation.where, explanation.normal, explainer.num_failed) == ({}, (), 1)


def test_a_window_without_evidence_has_nothing_to_explain() -> None:
    explanation = Explainer()(make_window(["motion"]), [], FakeMemory({}))
    assert (explanation.where, explanation.normal) == ({}, ())
