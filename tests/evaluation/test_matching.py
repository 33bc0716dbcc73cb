"""Which alert is of which event, and what other thresholds would have done."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.evaluation.manifest import Untouched
from mmstream.evaluation.matching import Timeline, at_false_rate, curve, first_above_s, match
from mmstream.evaluation.metrics import poisson_interval, share_interval


def stretch(start_s: float, end_s: float) -> Untouched:
    return Untouched(feed="cam", start_s=start_s, end_s=end_s, modality="picture")


def line(values: dict[float, float], *, length_s: int = 3600, refractory_s: float = 60.0) -> Timeline:
    """One window a second, all 0 but for those given."""
    end_s = np.arange(length_s, dtype=np.float64)
    value = np.zeros(length_s)
    for at_s, height in values.items():
        value[int(at_s)] = height
    return Timeline(end_s=end_s, value=value, refractory_s=refractory_s)


@pytest.mark.parametrize(
    ("opened_s", "found", "num_duplicates", "false_s"),
    [
        pytest.param([98.0], {0: -2.0}, 0, [], id="two seconds early"),
        pytest.param([97.9], {}, 0, [97.9], id="too early"),
        pytest.param([115.0], {0: 15.0}, 0, [], id="five seconds after its end"),
        pytest.param([125.1], {}, 0, [125.1], id="too late"),
        pytest.param([101.0, 108.0], {0: 1.0}, 1, [], id="twice"),
        pytest.param([114.0, 114.5], {0: 14.0, 1: 0.5}, 0, [], id="the second is of the next event"),
    ],
)
def test_an_alert_is_of_the_event_in_which_it_opens(
    opened_s: list[float], found: dict[int, float], num_duplicates: int, false_s: list[float]
) -> None:
    matched = match(opened_s, [stretch(100.0, 110.0), stretch(114.0, 120.0)])
    assert matched.delays_s == found
    assert matched.num_duplicates == num_duplicates
    assert matched.false_s == false_s


@given(
    opened_s=st.lists(st.floats(0, 500), max_size=20),
    starts=st.lists(st.floats(0, 500), max_size=8),
)
def test_every_alert_is_counted_exactly_once(opened_s: list[float], starts: list[float]) -> None:
    matched = match(opened_s, [stretch(start, start + 5.0) for start in starts])
    assert len(matched.delays_s) + matched.num_duplicates + len(matched.false_s) == len(opened_s)
    assert len(matched.delays_s) <= len(starts)


def test_alerts_closer_than_the_refractory_time_count_once() -> None:
    assert line({10: 3, 30: 3, 69: 3, 70: 3, 500: 3}).openings(2.0) == [10.0, 70.0, 500.0]


def test_recall_at_one_false_alert_per_camera_hour() -> None:
    """Two feeds of an hour: the threshold lets two false alerts through, and the weak event is lost."""
    events = {"a": [stretch(100, 104)], "b": [stretch(200, 204)]}
    shams = {"a": [stretch(900, 904)]}
    lines = {
        "a": line({101: 5.0, 1000: 4.0, 1500: 3.0, 901: 3.5}),
        "b": line({202: 2.5, 2000: 3.6}),
    }
    points = curve(lines, events, shams)
    point = at_false_rate(points, 1.01)
    assert point is not None
    assert point.threshold == 3.0, "at 3.0 itself only 4.0 and 3.6 are above"
    assert point.event_recall == 0.5
    assert point.sham_rate == 1.0
    silent = at_false_rate(points, 0.0)
    assert silent is not None
    assert silent.threshold == 4.0
    assert silent.event_recall == 0.5
    assert silent.sham_rate == 0.0
    assert at_false_rate([], 1.0) is None


def test_the_aftermath_of_a_found_event_is_not_false() -> None:
    echo = {"a": line({101: 5.0, 115: 4.0, 3000: 3.0})}
    events = {"a": [stretch(100, 104)]}
    assert [point.false_per_hour > 0 for point in curve(echo, events, {})] == [False, False, False, True]
    assert at_false_rate(curve({"a": line({115: 4.0})}, events, {}), 0.0).threshold == 4.0, "unless none was found"  # type: ignore[union-attr]


def test_a_lower_threshold_never_finds_less() -> None:
    random = np.random.default_rng(3)
    noisy = Timeline(end_s=np.arange(5000.0), value=random.exponential(size=5000), refractory_s=1.0)
    points = curve({"a": noisy}, {"a": [stretch(at, at + 3) for at in range(50, 5000, 400)]}, {})
    assert [p.threshold for p in points] == sorted((p.threshold for p in points), reverse=True)
    assert [p.event_recall for p in points] == sorted(p.event_recall for p in points)
    assert len(points) <= 200
    assert math.isnan(points[0].sham_rate)


def test_the_delay_is_to_the_first_window_above() -> None:
    quiet = line({101: 1.0, 103: 5.0})
    assert first_above_s(quiet, stretch(100, 104), 2.0) == 3.0
    assert first_above_s(quiet, stretch(100, 104), 0.5) == 1.0
    assert first_above_s(quiet, stretch(300, 304), 0.5) is None


def test_intervals_are_those_of_the_books() -> None:
    """Garwood's for 10 happenings: 4.80 to 18.39; Wilson's for 1 of 20: 0.9 % to 23.6 %."""
    assert poisson_interval(10) == pytest.approx((4.795, 18.390), abs=0.01)
    assert share_interval(1, 20) == pytest.approx((0.0089, 0.2361), abs=0.001)
    assert share_interval(0, 0) == (0.0, 1.0)
