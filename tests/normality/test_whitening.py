from __future__ import annotations

import numpy as np
import pytest

from mmstream.evaluation.metrics import auc
from mmstream.normality.bank import FIRST, MAX_BYTES, Bank
from mmstream.normality.history import INFRARED_BYTES, History
from mmstream.normality.whitening import MAX_AXES, Axes
from mmstream.types import Channel

DAY_S = 86_400.0


def correlated(count: int, dim: int, seed: int, turned: int = 0) -> np.ndarray:
    """Rows of one scale per number that vary along three axes, and a little everywhere."""
    axes = np.random.default_rng(100 + turned).normal(size=(3, dim))
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, 3)) @ axes + 0.1 * random.normal(size=(count, dim))
    return np.asarray(rows, np.float32)


def taught(rows: np.ndarray, *, step_s: float = 20.0, **options: bool) -> Bank:
    bank = Bank(dim=rows.shape[1], whiten=True, **options)
    for number, row in enumerate(rows):
        bank.learn(row, number * step_s)
    return bank


@pytest.mark.parametrize(("count", "dim"), [(600, 12), (40, 12), (600, 100), (40, 100), (8, 100), (600, 65)])
def test_the_cloud_is_round_in_its_own_axes_and_nothing_is_blown_up(count: int, dim: int) -> None:
    rows = correlated(count, dim, seed=1)
    axes = Axes.of(rows)
    assert axes.turn.T @ axes.turn == pytest.approx(np.eye(axes.turn.shape[1]), abs=1e-4)
    deviations = axes.apply(rows - rows.mean(axis=0)).std(axis=0)
    assert deviations.max() < 1.2  # shrinking makes the longest axes a little shorter than they are
    assert deviations[:3].min() > 0.7


def test_what_lies_off_all_axes_is_still_seen() -> None:
    rows = correlated(900, MAX_AXES + 60, seed=2)
    axes = Axes.of(rows - rows.mean(axis=0))
    off = np.random.default_rng(3).normal(size=rows.shape[1]).astype(np.float32)
    off -= axes.turn @ (axes.turn.T @ off)
    assert np.linalg.norm(axes.apply(off)[:-1]) < 1e-2
    assert axes.apply(off)[-1] > 3.0 * axes.apply(rows)[:, -1].max()


@pytest.mark.parametrize("dim", [20, 120])
def test_a_broken_relation_between_numbers_is_seen_that_a_scale_per_number_hides(dim: int) -> None:
    rows, usual, broken = (correlated(count, dim, seed) for count, seed in ((700, 4), (200, 5), (200, 6)))
    broken = np.where(np.arange(dim) % 2, broken, np.roll(broken, 1, axis=0)) * np.float32(0.5)
    found = {}
    for whiten in (False, True):
        bank = Bank(dim=dim, whiten=whiten)
        for second, row in enumerate(rows):
            bank.learn(row, 20.0 * second)
        scores = np.array([bank.score(row) for row in (*usual, *broken)])
        found[whiten] = auc(scores, np.arange(400) >= 200)
    assert found[True] > 0.98
    assert found[True] > found[False]


def test_the_axes_are_fitted_again_at_night_and_the_rows_come_along() -> None:
    """The feed has come to vary along other axes: one night later these are what is measured along."""
    bank = taught(correlated(4200, 20, seed=7), step_s=5.0)
    for number, row in enumerate(correlated(1500, 20, seed=8, turned=1)):
        bank.learn(row, 0.3 * DAY_S + 10.0 * number)
    before, rescaled, known = bank.state(), bank.num_rescaled, bank.num_rows
    asked = correlated(300, 20, seed=9, turned=1)
    scores = np.array([bank.score(row) for row in asked])
    bank.learn(asked[0], 2.0 * DAY_S)
    after = bank.state()
    assert bank.num_rescaled == rescaled + 1
    overlap = np.linalg.svd(before["turn"][:, :3].T @ after["turn"][:, :3])[1]
    assert overlap.min() < 0.9
    assert bank.num_rows <= known + 1
    points = Axes(turn=after["turn"], deviations=after["deviations"]).apply(after["rows.carried"].astype(np.float32))
    assert after["rows.points"] == pytest.approx(points, abs=0.05)
    translated = bank.translation.offset + bank.translation.factor * scores
    new = np.array([bank.score(row) for row in asked])
    for quantile in (50, 90):
        assert np.percentile(translated, quantile) == pytest.approx(np.percentile(new, quantile), rel=0.15)
    bank.learn(asked[1], 2.0 * DAY_S + 60.0)
    assert bank.num_rescaled == rescaled + 1


@pytest.mark.parametrize("count", [5, FIRST, FIRST + 1, 300])
@pytest.mark.parametrize("dim", [7, 90])
def test_a_loaded_whitened_bank_goes_on_exactly_like_the_first(count: int, dim: int) -> None:
    first = taught(correlated(count, dim, seed=10))
    second = Bank(dim=dim, whiten=True)
    second.load(first.state())
    for number, row in enumerate(correlated(250, dim, seed=11), start=count):
        assert second.score(row) == first.score(row)
        first.learn(row, 20.0 * number)
        second.learn(row, 20.0 * number)


def test_remembered_vectors_come_back_in_the_encoder_s_units_after_many_nights() -> None:
    scale = np.geomspace(1e-3, 1e6, 80).astype(np.float32)
    rows = correlated(300, 80, seed=12) * scale
    bank = taught(rows)
    for night in range(1, 15):
        bank.learn(rows[0], night * DAY_S)
    nearest = bank.nearest(rows[50], 1)[0]
    assert nearest.vector / scale == pytest.approx(rows[50] / scale, abs=0.02)


def test_a_false_alarm_is_usual_in_the_whitened_space_too_and_can_be_taken_back_a_night_later() -> None:
    bank = taught(correlated(500, 30, seed=13))
    event = np.full(30, 4.0, np.float32)
    before = bank.score(event)
    bank.absorb(event, 500 * 20.0)
    assert bank.score(event) < 0.2 * before
    bank.learn(correlated(1, 30, seed=14)[0], 2.0 * DAY_S)
    bank.forget(event)
    assert bank.score(event) > 0.5 * before


@pytest.mark.parametrize("dim", [4, 148, 512, 768])
@pytest.mark.parametrize("max_bytes", [MAX_BYTES, INFRARED_BYTES])
def test_rows_and_axes_together_hold_no_more_than_the_bytes_of_a_bank(dim: int, max_bytes: int) -> None:
    bank = Bank(dim=dim, whiten=True, max_bytes=max_bytes)
    plain = Bank(dim=dim, max_bytes=max_bytes)

    def held(of: Bank) -> int:
        return of._rows.points.nbytes + of._rows.carried.nbytes

    axes = 4 * dim * min(dim, MAX_AXES)
    assert held(bank) + axes <= max(max_bytes, held(plain) + axes)


def test_a_frozen_picture_and_a_hostile_vector_give_finite_scores() -> None:
    bank = taught(np.ones((400, 90), np.float32))
    assert bank.score(np.ones(90, np.float32)) == pytest.approx(0.0, abs=1e-3)
    assert np.isfinite(bank.score(np.full(90, 3e38, np.float32)))


def test_a_channel_asks_for_it() -> None:
    channel = Channel(name="vision", modality="picture", whiten=True)
    history = History(channel, 10)
    for number, row in enumerate(correlated(100, 10, seed=15)):
        history.learn(row, 0.0, float(number))
    assert "normality.turn" in history.state()
    plain = History(Channel(name="vision", modality="picture"), 10)
    assert "normality.turn" not in plain.state()
