from __future__ import annotations

import math

import numpy as np
import pytest

from mmstream.normality.sensors import HEARD_S, MAX_SENSORS, Sensors, joined
from mmstream.types import Evidence, Reading

EVERY_S = 60.0


def reading(sensor: str, at_s: float, value: float) -> Reading:
    return Reading(feed_id="plant", start_s=at_s, end_s=at_s, sensor=sensor, value=value)


def taught(names: tuple[str, ...] = ("oil", "air"), count: int = 600) -> Sensors:
    random, sensors = np.random.default_rng(0), Sensors()
    for number in range(count):
        at_s = number * EVERY_S
        sensors.weigh([reading(name, at_s, 20.0 + random.normal()) for name in names], at_s + 1.0)
    return sensors


def test_a_reading_far_from_the_sensors_own_history_is_rare_and_the_others_stay_ordinary() -> None:
    sensors = taught()
    evidence = sensors.weigh([reading("oil", 36_000.0, 60.0), reading("air", 36_000.0, 20.0)], 36_001.0)
    p = {item.channel: item.p for item in evidence}
    assert p["sensor:oil"] < 1e-3 < 0.05 < p["sensor:air"]
    assert {item.modality for item in evidence} == {"sensor"}


def test_nothing_is_said_while_a_sensor_is_new() -> None:
    assert taught(count=100).weigh([reading("oil", 6_000.0, 500.0)], 6_001.0) == []


def test_a_reading_speaks_for_three_windows_though_it_came_in_one() -> None:
    sensors = taught()
    first = sensors.weigh([reading("oil", 36_000.0, 60.0)], 36_000.5)
    later = [sensors.weigh([], 36_000.5 + step) for step in (1.0, 2.0, HEARD_S)]
    assert first == later[0] == later[1]
    assert later[2] == []


def test_of_several_readings_in_a_window_the_rarest_counts() -> None:
    sensors = taught()
    readings = [reading("oil", 36_000.0 + step, value) for step, value in ((0.1, 60.0), (0.2, 20.0))]
    assert sensors.weigh(readings, 36_001.0)[0].p < 1e-3


def test_a_sensor_too_many_is_refused_and_counted_and_hurts_no_other() -> None:
    names = tuple(f"s{number}" for number in range(MAX_SENSORS))
    sensors = taught(names, count=200)
    sensors.weigh([reading("one-too-many", 12_000.0, 1.0)], 12_001.0)
    assert len(sensors) == MAX_SENSORS
    assert sensors.num_refused == 1
    assert len(sensors.weigh([reading(name, 12_060.0, 20.0) for name in names], 12_061.0)) == MAX_SENSORS


def test_what_is_no_number_is_counted_and_not_judged() -> None:
    sensors = taught()
    assert sensors.weigh([reading("oil", 36_000.0, math.nan)], 36_001.0) == []
    assert sensors.num_bad == 1


def test_a_sensor_that_fell_silent_is_named() -> None:
    sensors = taught()
    sensors.weigh([reading("air", 36_000.0 + step * EVERY_S, 20.0 + step % 3) for step in range(30)], 37_800.0)
    assert sensors.faults(37_800.0) == {"oil": "silent"}


def test_restored_sensors_judge_the_same() -> None:
    sensors, other = taught(), Sensors()
    other.load(*sensors.state())
    readings = [reading("oil", 36_000.0, 23.5), reading("air", 36_000.0, 19.0)]
    assert other.weigh(readings, 36_001.0) == sensors.weigh(readings, 36_001.0)


def test_a_full_set_of_sensors_stays_within_its_memory() -> None:
    sensors = taught(tuple(f"s{number}" for number in range(MAX_SENSORS)), count=2500)
    _, arrays = sensors.state()
    assert sum(array.nbytes for array in arrays.values()) <= 1.5e6


def test_ordinary_sensors_together_are_no_rarer_than_one_of_them() -> None:
    usual = [Evidence(channel=f"sensor:{n}", modality="sensor", p=0.2 + 0.05 * n) for n in range(10)]
    both = joined(usual)
    assert both is not None
    assert both.p == pytest.approx(10 / sum(1 / item.p for item in usual))
    assert joined([]) is None
