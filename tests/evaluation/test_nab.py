"""The benchmark's score against sums worked out by hand, and its control against the textbook."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mmstream.evaluation.nab import (
    Profile,
    ScoredSeries,
    WindowedGaussian,
    best_threshold,
    log_normal_tail,
    nab_score,
    probation_rows,
    row_worths,
    scaled_sigmoid,
)


def make_series(
    *detections: int, windows: tuple[tuple[int, int], ...] = ((400, 499),), num_rows: int = 1000, name: str = "one"
) -> ScoredSeries:
    scores = np.zeros(num_rows)
    scores[list(detections)] = 1.0
    return ScoredSeries(name=name, scores=scores, windows=windows)


def test_a_detection_on_the_first_row_of_every_window_is_perfect():
    windows = ((400, 499), (700, 749))
    assert nab_score([make_series(400, 700, windows=windows)]).score == pytest.approx(100.0)


def test_silence_scores_nothing():
    result = nab_score([make_series()], threshold=1.0)
    assert result.score == 0.0
    assert (result.series["one"].num_found, result.series["one"].num_false_rows) == (0, 0)


def test_a_detector_that_only_errs_is_best_kept_silent():
    result = nab_score([make_series(300, 900, windows=((400, 499),))])
    assert result.score == 0.0
    assert math.isinf(result.threshold)


def test_only_the_first_detection_in_a_window_counts():
    late = nab_score([make_series(450)], threshold=1.0).score
    assert nab_score([make_series(450, 460, 499)], threshold=1.0).score == pytest.approx(late)
    assert nab_score([make_series(420, 450)], threshold=1.0).score > late


def test_the_middle_and_the_last_row_of_a_window_are_worth_what_the_paper_says():
    best = scaled_sigmoid(-1.0)
    middle = (scaled_sigmoid(-50 / 100) / best + 1.0) / 2.0
    last = (scaled_sigmoid(-1 / 100) / best + 1.0) / 2.0
    assert nab_score([make_series(450)], threshold=1.0).score == pytest.approx(100.0 * middle)
    assert nab_score([make_series(499)], threshold=1.0).score == pytest.approx(100.0 * last)


def test_a_false_alarm_costs_little_just_behind_a_window_and_all_far_from_any():
    worths, owner = row_worths(make_series(), Profile())
    assert worths[399] == pytest.approx(-0.11)
    assert -0.01 < worths[500] < 0.0
    assert worths[999] == pytest.approx(-0.11)
    assert (owner[399], owner[400], owner[499], owner[500]) == (-1, 0, 0, -1)
    assert nab_score([make_series(400, 300)], threshold=1.0).score == pytest.approx(100.0 * (2.0 - 0.11) / 2.0)


def test_nothing_is_judged_in_the_first_rows():
    assert [probation_rows(n) for n in (1000, 5000, 22_695)] == [150, 750, 750]
    assert nab_score([make_series(400, *range(150))], threshold=1.0).score == pytest.approx(100.0)
    assert nab_score([make_series(400, 150)], threshold=1.0).score < 100.0


def test_one_threshold_is_chosen_for_all_series_together():
    clear = ScoredSeries(name="clear", scores=np.r_[np.zeros(400), np.full(600, 5.0)], windows=((400, 999),))
    # alone it would be found at 3.0, but 8 false alarms of 4.0 in the other series cost less than a window
    noisy = ScoredSeries(name="noisy", scores=np.r_[np.zeros(900), np.full(8, 4.0), np.zeros(92)], windows=())
    small = ScoredSeries(name="small", scores=np.r_[np.zeros(400), np.full(600, 3.0)], windows=((400, 999),))
    result = nab_score([clear, noisy, small])
    assert result.threshold == 3.0
    assert result.series["noisy"].num_false_rows == 8
    assert result.score == pytest.approx(100.0 * (4.0 - 8 * 0.11) / 4.0)


def test_equal_scores_are_taken_together_or_not_at_all():
    scores = np.zeros(1000)
    scores[[450, *range(200, 240)]] = 1.0
    assert math.isinf(best_threshold([ScoredSeries(name="tied", scores=scores, windows=((400, 499),))]))


@given(seed=st.integers(0, 10_000), levels=st.integers(2, 30))
@settings(max_examples=40, deadline=None)
def test_the_chosen_threshold_is_at_least_as_good_as_any_other(seed: int, levels: int):
    random = np.random.default_rng(seed)
    series = [
        ScoredSeries(name=name, scores=random.integers(0, levels, 300).astype(float), windows=windows)
        for name, windows in (("a", ((80, 100), (200, 230))), ("b", ()), ("c", ((290, 299),)))
    ]
    chosen = nab_score(series)
    others = [nab_score(series, threshold=float(level)).score for level in range(levels + 1)]
    assert chosen.score == pytest.approx(max(0.0, *others))
    assert chosen.score == pytest.approx(nab_score(series, threshold=chosen.threshold).score)


def test_without_a_labelled_window_there_is_no_score():
    with pytest.raises(ValueError, match="no labelled window"):
        nab_score([make_series(windows=())])


@pytest.mark.parametrize("window", [(5, 5), (-1, 5), (900, 1000), (9, 3)])
def test_a_window_outside_its_series_is_refused(window: tuple[int, int]):
    with pytest.raises(ValueError, match="is not inside"):
        make_series(windows=(window,))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="without NaN"):
        ScoredSeries(name="bad", scores=np.array([0.0, math.nan]), windows=())


@given(distance=st.floats(0.0, 300.0))
def test_the_log_tail_is_the_normal_one_far_beyond_what_a_double_holds(distance: float):
    assert log_normal_tail(distance) == pytest.approx(float(norm.logsf(distance)), rel=2e-3)


def test_the_control_is_the_tail_of_a_gaussian_over_the_values_before():
    values = np.random.default_rng(1).normal(5.0, 2.0, 500)
    control = WindowedGaussian()
    scores = [control.push(float(value)) for value in values]
    expected = -norm.logsf(abs(values[-1] - values[:-1].mean()) / values[:-1].std())
    assert scores[-1] == pytest.approx(float(expected), rel=1e-6)


def test_the_controls_window_moves_in_steps_once_it_is_full():
    control = WindowedGaussian(window=100, step=10)
    values = np.random.default_rng(2).normal(0.0, 1.0, 139)
    for value in values:
        control.push(float(value))
    kept = values[30:130]  # 139 came; the last 9 wait for a full step
    expected = -norm.logsf(abs(4.0 - kept.mean()) / kept.std())
    assert control.push(4.0) == pytest.approx(float(expected), rel=1e-6)


def test_a_flat_series_makes_the_control_neither_fail_nor_speak():
    control = WindowedGaussian()
    assert [control.push(45.0) for _ in range(50)][1:] == pytest.approx([math.log(2.0)] * 49)


def test_a_control_whose_step_exceeds_its_window_is_refused():
    with pytest.raises(ValueError, match="step"):
        WindowedGaussian(window=10, step=11)
