"""A sensor learns its own day, speaks up once about what is unlike it, and stays small."""

from __future__ import annotations

import math
import pickle
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.normality.sensor import FEATURES, WARM_UP, SensorModel

DAY = 288
STEP_S = 300.0


def make_days(num_days: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Readings every five minutes of something that rises by day and falls by night."""
    rows = np.arange(num_days * DAY)
    noise = np.random.default_rng(seed).normal(0.0, 1.0, len(rows))
    return 20.0 + 10.0 * np.sin(2.0 * np.pi * rows / DAY) + noise


def push_all(
    model: SensorModel, values: npt.NDArray[np.float64], first: int = 0, step_s: float = STEP_S
) -> npt.NDArray[np.float64]:
    return np.array([model.push(step_s * (first + row), float(value)) for row, value in enumerate(values)])


def sizeof(item: Any, seen: set[int]) -> int:
    if id(item) in seen:
        return 0
    seen.add(id(item))
    if isinstance(item, np.ndarray):
        return item.nbytes + 112
    size = sys.getsizeof(item)
    if isinstance(item, dict):
        return size + sum(sizeof(key, seen) + sizeof(value, seen) for key, value in item.items())
    if hasattr(item, "__dict__"):
        return size + sizeof(item.__dict__, seen)
    if hasattr(item, "__iter__") and not isinstance(item, str):
        return size + sum(sizeof(value, seen) for value in item)
    return size


def test_nothing_is_unusual_before_the_scale_is_known():
    assert not push_all(SensorModel(), np.random.default_rng(0).normal(0.0, 9.0, WARM_UP)).any()


def test_an_ordinary_day_after_ten_others_stays_below_one_in_a_thousand():
    surprises = push_all(SensorModel(), make_days(11))
    assert surprises[-DAY:].max() < 3.0


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        pytest.param(lambda day: np.r_[day[:100], 80.0, day[101:]], "jump", id="a spike"),
        pytest.param(lambda day: np.r_[day[:60], np.full(60, 10.0), day[120:]], "level", id="night by day"),
        pytest.param(lambda day: day + np.linspace(0.0, 25.0, DAY), "drift", id="a creep"),
    ],
)
def test_what_is_unlike_the_sensors_own_days_stands_out(change: Any, feature: str):
    model = SensorModel()
    days = make_days(11)
    ordinary = push_all(model, days[:-DAY])
    surprises, shares = [], []
    for row, value in enumerate(change(days[-DAY:])):
        surprises.append(model.push(STEP_S * (len(ordinary) + row), float(value)))
        shares.append(model.shares)
    assert max(surprises) > max(3.5, ordinary[5 * DAY :].max())
    assert max(share[feature] for share in shares) > 0.2


def test_an_hour_is_compared_with_the_same_hour_of_other_days():
    """10 degrees are ordinary at night; at noon they were never seen."""
    model = SensorModel()
    push_all(model, make_days(5))
    night_s, noon_s = (5 * DAY + 216) * STEP_S, (5 * DAY + 72) * STEP_S
    at_night, at_noon = pickle.loads(pickle.dumps(model)), pickle.loads(pickle.dumps(model))
    at_night.push(night_s, 10.0)
    at_noon.push(noon_s, 10.0)
    references = [at._references["level"] for at in (at_night, at_noon)]
    newest = [float(reference.state()["scores"][-1]) for reference in references]
    assert newest[1] > 3.0 * newest[0]


def test_one_event_speaks_once_until_the_hold_is_over():
    held, free = SensorModel(hold_s=86_400.0), SensorModel(hold_s=0.0)
    values = np.concatenate([make_days(8), np.tile([60.0, 20.0, 20.0], 30)])
    loud_held = push_all(held, values)[8 * DAY :] > 3.0
    loud_free = push_all(free, values)[8 * DAY :] > 3.0
    assert loud_held[0]
    assert loud_held.sum() <= 5
    assert loud_free.sum() > 15


@pytest.mark.parametrize(
    ("step_s", "num_held"),
    [
        pytest.param(1.0, 288, id="of a fast sensor after 288 readings, not after 86,400"),
        pytest.param(3600.0, 24, id="of a slow sensor after a day, not after 288 readings"),
    ],
)
def test_the_hold_ends(step_s: float, num_held: int):
    values = np.random.default_rng(3).normal(0.0, 1.0, 2000)
    values[1200] = 40.0
    echo, afresh = SensorModel(), SensorModel()
    values_echo, values_afresh = values[: 1200 + num_held].copy(), values[: 1200 + num_held + 20].copy()
    values_echo[-1] = values_afresh[-1] = 15.0
    assert push_all(echo, values_echo, step_s=step_s)[-1] == 0.0
    assert push_all(afresh, values_afresh, step_s=step_s)[-1] > 2.5


@given(scale=st.sampled_from([1e-6, 0.25, 7.0, 4096.0, 1e9]), offset=st.sampled_from([0.0, -3.0, 100.0]))
@settings(max_examples=8, deadline=None)
def test_units_do_not_matter(scale: float, offset: float):
    values = make_days(3)
    plain = push_all(SensorModel(), values)
    other = push_all(SensorModel(), (values + offset) * scale)
    np.testing.assert_allclose(other, plain, atol=0.02)


@given(
    values=st.lists(
        st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0])),
        min_size=WARM_UP,
        max_size=WARM_UP + 80,
    )
)
@settings(max_examples=25, deadline=None)
def test_hostile_readings_give_finite_surprises_and_are_counted(values: list[float]):
    model = SensorModel()
    surprises = [model.push(60.0 * row, value) for row, value in enumerate(values)]
    assert all(math.isfinite(surprise) and surprise >= 0.0 for surprise in surprises)
    assert model.num_bad == sum(not math.isfinite(value) for value in values)
    if model.shares:
        assert set(model.shares) == set(FEATURES)
        assert sum(model.shares.values()) == pytest.approx(1.0)


def test_a_line_that_was_always_flat_is_no_event_and_leaving_it_is():
    model = SensorModel()
    assert not push_all(model, np.full(1000, 45.0)).any()
    assert model.push(300_000.0, 46.0) > 2.5


def test_it_goes_on_from_its_state_as_if_nothing_had_happened():
    values = make_days(8)
    for cut in (WARM_UP // 2, 4 * DAY):
        whole, again = SensorModel(), SensorModel()
        push_all(whole, values[:cut])
        again.load(whole.state())
        rest = push_all(whole, values[cut:], first=cut)
        np.testing.assert_array_equal(push_all(again, values[cut:], first=cut), rest)
        assert again.fault(1e9) == whole.fault(1e9) == "silent"
        assert rest.any()


def test_a_strange_state_is_refused():
    with pytest.raises(KeyError):
        SensorModel().load({"recent": np.zeros(3)})


def test_it_stays_within_64_kb():
    model = SensorModel()
    push_all(model, np.random.default_rng(0).normal(0.0, 1.0, 9000))
    surprises_falling = np.linspace(60.0, 1.0, 200)
    push_all(model, surprises_falling, first=9000)
    assert sizeof(model, set()) <= 65_536
    assert len(model._highs) <= 16


def test_a_sensor_that_stops_talking_is_silent():
    model = SensorModel()
    push_all(model, make_days(2))
    last_s = STEP_S * (2 * DAY - 1)
    assert model.fault(last_s + 5 * STEP_S) == ""
    assert model.fault(last_s + 11 * STEP_S) == "silent"
    model.push(last_s + 100 * STEP_S, 20.0)
    assert model.fault(last_s + 101 * STEP_S) == ""
    assert model.fault(last_s + 130 * STEP_S) == "silent"


def test_a_sensor_that_repeats_itself_for_far_longer_than_ever_is_stuck():
    model = SensorModel()
    push_all(model, make_days(2))
    push_all(model, np.full(288, 20.0), first=2 * DAY)
    assert model.fault(STEP_S * 3 * DAY) == ""
    model.push(STEP_S * 3 * DAY, 20.0)
    assert model.fault(STEP_S * 3 * DAY) == "stuck"
    model.push(STEP_S * (3 * DAY + 1), 21.0)
    assert model.fault(STEP_S * (3 * DAY + 1)) == ""


def test_a_sensor_whose_nights_are_flat_is_not_stuck_at_night():
    model = SensorModel()
    night_and_day = np.concatenate([np.zeros(200), np.random.default_rng(0).normal(9.0, 1.0, 88)])
    push_all(model, np.tile(night_and_day, 3))
    push_all(model, np.zeros(300), first=3 * DAY)
    assert model.fault(STEP_S * (3 * DAY + 300)) == ""


def test_a_new_sensor_has_no_fault():
    assert SensorModel().fault(1e9) == ""


def test_a_negative_hold_is_refused():
    with pytest.raises(ValueError, match="hold_s"):
        SensorModel(hold_s=-1.0)
