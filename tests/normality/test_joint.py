"""Two judges and a background: what is unusual, what is withheld, what is kept."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest

from mmstream.normality.joint import BANK_START, PROVISIONAL, Joint
from mmstream.stages import Normality, Remembering
from mmstream.types import Float32

HALF = 12
MAX_BYTES = 768 * 1024


def sounds(count: int, *, background: float = 0.0, seed: int = 0, half: int = HALF) -> Float32:
    """Vectors of windows that wander about a background, in two modes, with their difference from it."""
    random = np.random.default_rng(seed)
    usual = np.full(half, background) + np.random.default_rng(5).normal(size=half)
    mixing = np.random.default_rng(6).normal(size=(half, half))
    now = usual + 0.5 * random.normal(size=(count, half)) @ mixing / np.sqrt(half)
    now += np.where(random.random((count, 1)) < 0.2, 2.0, 0.0) * np.eye(half)[0]
    drift = 0.1 * random.normal(size=(count, half))
    return np.concatenate([now, now - usual - drift], axis=1).astype(np.float32)


def event(background: float = 0.0) -> Float32:
    """One loud window: far from everything, against a background as it was."""
    vector = sounds(1, background=background, seed=77)[0].copy()
    vector[3] += 6.0
    vector[HALF + 3] += 6.0
    return vector


def taught(vectors: Float32, joint: Joint | None = None, from_s: float = 0.0) -> Joint:
    joint = joint or Joint(dim=vectors.shape[1])
    for second, vector in enumerate(vectors):
        joint.learn(vector, from_s + second)
    return joint


@functools.lru_cache(maxsize=1)
def _street() -> bytes:
    return pickle.dumps(taught(sounds(2400)))


def street() -> Joint:
    """One that has heard 2400 windows on background 0; a new one for each test."""
    joint: Joint = pickle.loads(_street())
    return joint


@pytest.mark.parametrize("count", [200, 2400])
def test_a_loud_event_is_rarer_than_all_that_is_usual_with_and_without_neighbours(count):
    joint = street() if count == 2400 else taught(sounds(count))
    assert isinstance(joint, Normality)
    assert isinstance(joint, Remembering)
    assert (joint.num_rows > 0) == (count > BANK_START)
    usual = [joint.score(vector) for vector in sounds(200, seed=1)]
    assert joint.score(event()) > max(usual)


def test_scores_of_what_is_usual_are_spread_like_the_logarithms_of_p_values():
    joint = street()
    usual = [joint.score(vector) for vector in sounds(500, seed=1)]
    assert 0.15 < np.mean(usual) < 0.65
    assert np.mean(np.array(usual) > 2.0) < 0.03


def test_on_a_background_never_heard_nothing_is_said_however_loud():
    joint = street()
    for vector in [*sounds(50, background=8.0, seed=2), event(background=8.0)]:
        assert joint.newness(vector) > 2.0
        assert joint.score(vector) <= PROVISIONAL
    assert joint.score(event()) > 2.0


def test_after_hours_of_the_new_background_events_are_told_there_too():
    joint = street()
    taught(sounds(3900, background=8.0, seed=3), joint, from_s=2400.0)
    usual = [joint.score(vector) for vector in sounds(200, background=8.0, seed=4)]
    assert joint.score(event(background=8.0)) > max(usual)


def test_the_nearest_normal_vectors_come_in_the_units_of_the_vector_with_their_times():
    vectors = sounds(1500)
    joint = taught(vectors, from_s=1000.0)
    found = joint.nearest(vectors[1200], 3)
    assert [neighbour.distance for neighbour in found] == sorted(neighbour.distance for neighbour in found)
    assert all(1000.0 <= neighbour.at_s < 2500.0 for neighbour in found)
    spread = np.abs(vectors[:, :HALF] - vectors[:, :HALF].mean(axis=0)).mean()
    assert np.abs(found[0].vector[:HALF] - vectors[1200, :HALF]).mean() < 0.5 * spread
    assert not found[0].vector[HALF:].any()
    assert Joint(dim=24).nearest(vectors[0], 3) == []


@pytest.mark.parametrize("count", [30, 300, 900])
def test_it_goes_on_from_its_state_exactly(count):
    first, second = taught(sounds(count)), Joint(dim=2 * HALF)
    second.load(first.state())
    more = sounds(300, seed=8)
    taught(more, first, from_s=float(count))
    taught(more, second, from_s=float(count))
    for vector in sounds(20, seed=9):
        assert first.score(vector) == second.score(vector)
    assert len(first) == len(second) == count + 300


def test_what_an_operator_called_normal_is_ordinary_from_then_on():
    joint = street()
    before = joint.score(event())
    joint.absorb(event(), 2400.0)
    assert joint.score(event()) < 0.6 * before


def test_a_full_bank_of_full_size_vectors_stays_within_its_memory():
    joint = taught(sounds(2500, half=195))
    assert joint.num_rows > 1000
    assert sum(array.nbytes for array in joint.state().values()) <= MAX_BYTES
    assert len(joint) == 2500


def test_turning_the_axes_does_not_move_the_scores_of_what_is_usual():
    joint = street()
    probe = sounds(300, seed=11)
    before = np.mean([joint.score(vector) for vector in probe])
    joint._ellipsoid.fit()
    joint._turn()
    after = np.mean([joint.score(vector) for vector in probe])
    assert abs(after - before) < 0.15


@pytest.mark.parametrize("dim", [0, 7])
def test_a_vector_that_is_not_two_halves_is_refused(dim):
    with pytest.raises(ValueError, match="two halves"):
        Joint(dim=dim)
