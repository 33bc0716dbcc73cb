"""When a night is due: once per date, in every zone, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.schedule import CATCH_UP_S, due, moment_before

DAY_S = 86_400.0
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
BERLIN = ZoneInfo("Europe/Berlin")

zones = st.sampled_from(ZONES).map(ZoneInfo)
times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda time: f"{time[0]:02d}:{time[1]:02d}")
moments_s = st.floats(1.6e9, 1.9e9)


def at_s(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("now", "last", "is_due"),
    [
        pytest.param("2026-11-22 02:29:59", "2026-11-21 02:30", False, id="not yet"),
        pytest.param("2026-11-22 02:30:00", "2026-11-21 02:30", True, id="now"),
        pytest.param("2026-11-22 02:30:30", "2026-11-22 02:30:10", False, id="it has begun"),
        pytest.param("2026-11-22 05:29:00", "2026-11-20 02:30", True, id="the machine was off: made up for"),
        pytest.param("2026-11-22 05:31:00", "2026-11-20 02:30", False, id="too late: the next night"),
        pytest.param("2026-11-22 02:31:00", "2026-11-22 04:00", False, id="the clock was set back"),
        pytest.param("2026-11-22 03:31:00", "2026-11-22 03:00", False, id="a site that began after the hour"),
    ],
)
def test_a_night_is_due_from_its_hour_on_until_it_has_begun(now: str, last: str, is_due: bool) -> None:
    assert due(at_s(now), at_s(last), "02:30", zone=BERLIN) is is_due


def test_an_hour_before_midnight_is_made_up_for_after_it() -> None:
    assert due(at_s("2026-11-22 01:00"), at_s("2026-11-20 23:30"), "23:30", zone=BERLIN)


def test_the_night_that_jumps_over_half_past_two_trains_an_hour_later() -> None:
    before, after = at_s("2026-03-29 01:59"), at_s("2026-03-29 03:30")
    assert not due(before, at_s("2026-03-28 02:30"), "02:30", zone=BERLIN)
    assert due(after, at_s("2026-03-28 02:30"), "02:30", zone=BERLIN)


def test_the_night_that_has_half_past_two_twice_trains_once() -> None:
    first_s = at_s("2026-10-25 02:30")
    assert due(first_s, at_s("2026-10-24 02:30"), "02:30", zone=BERLIN)
    assert not due(first_s + 3600, first_s, "02:30", zone=BERLIN), "the same time on the wall, an hour later"


@given(now_s=moments_s, at=times, zone=zones)
def test_the_moment_is_at_most_a_day_and_an_hour_ago(now_s: float, at: str, zone: ZoneInfo) -> None:
    moment_s = moment_before(now_s, at, zone=zone)
    assert now_s - DAY_S - 3600 <= moment_s <= now_s


@given(
    start_s=moments_s,
    at=times,
    zone=zones,
    steps=st.lists(st.one_of(st.floats(1.0, 600.0), st.floats(1.0, 2 * DAY_S)), min_size=1, max_size=60),
)
def test_no_date_is_trained_twice_whenever_somebody_looks(
    start_s: float, at: str, zone: ZoneInfo, steps: list[float]
) -> None:
    now_s, last_s, dates = start_s, start_s - 3 * DAY_S, []
    for step_s in steps:
        if due(now_s, last_s, at, zone=zone):
            moment_s, last_s = moment_before(now_s, at, zone=zone), now_s
            assert now_s - moment_s <= CATCH_UP_S
            dates.append(datetime.fromtimestamp(moment_s, zone).date())
        now_s += step_s
    assert len(dates) == len(set(dates))


@given(start_s=moments_s, at=times, zone=zones)
def test_somebody_who_looks_every_half_hour_misses_no_night(start_s: float, at: str, zone: ZoneInfo) -> None:
    nights, last_s = 0, start_s
    for step in range(1, 48 * 4 + 1):
        now_s = start_s + step * 1800.0
        if due(now_s, last_s, at, zone=zone):
            nights, last_s = nights + 1, now_s
    assert nights in (3, 4, 5)


def test_without_a_zone_it_is_the_time_of_this_machine() -> None:
    now = datetime(2026, 11, 22, 2, 45)
    assert moment_before(now.timestamp(), "02:30") == now.replace(minute=30).timestamp()
    assert moment_before(now.timestamp(), "02:30", zone=UTC) <= now.timestamp()
