"""Time of packets: rate from the stream, time of day from the camera or from arrival, never backwards."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.sources.clock import FileClock, LiveClock

PERIOD_S = 0.1


def place(clock: LiveClock, pts_s: float, *, late_s: float = 0.0, sender_s: float | None = None) -> float:
    """Place a packet that was captured at ``1000 + pts_s`` and came one period and ``late_s`` after."""
    arrived_s = 1000.0 + pts_s + PERIOD_S + late_s
    return clock.place(pts_s, duration_s=PERIOD_S, arrived_s=arrived_s, sender_s=sender_s)[0]


def test_a_file_counts_from_its_epoch():
    assert FileClock(50.0).place(1.5, duration_s=0.5, arrived_s=9.0, sender_s=None) == (51.5, 52.0)


def test_the_least_delayed_packet_sets_the_arrival_clock():
    clock = LiveClock()
    for index in range(200):
        start_s = place(clock, index * PERIOD_S, late_s=0.0 if index % 7 == 3 else 0.08)
    assert start_s == pytest.approx(1000.0 + 199 * PERIOD_S, abs=1e-6)
    assert clock.source == "arrival"


def test_the_first_report_of_a_session_is_left_out_because_it_belongs_to_the_next_picture():
    clock = LiveClock()
    place(clock, 0.0, sender_s=1000.0 + PERIOD_S)
    assert clock.source == "arrival"
    place(clock, 0.1, sender_s=1000.1)
    assert clock.source == "sender report"
    assert clock.skew_s == pytest.approx(0.0, abs=1e-6)


def test_a_plausible_report_takes_the_networks_delay_out():
    clock = LiveClock()
    for index in range(100):
        pts_s = index * PERIOD_S
        start_s = place(clock, pts_s, late_s=0.3, sender_s=1000.0 + pts_s)
    assert start_s == pytest.approx(1000.0 + 99 * PERIOD_S, abs=1e-6)
    assert clock.skew_s == pytest.approx(-0.3, abs=1e-6)
    assert clock.error_s == pytest.approx(0.001)


@pytest.mark.parametrize("skew_s", [-3600.0, -0.6, 0.6, -1.7e9])
def test_a_camera_whose_clock_is_not_set_is_placed_by_arrival_and_its_skew_is_known(skew_s: float):
    clock = LiveClock()
    for index in range(50):
        pts_s = index * PERIOD_S
        start_s = place(clock, pts_s, sender_s=1000.0 + pts_s + skew_s)
    assert start_s == pytest.approx(1000.0 + 49 * PERIOD_S, abs=1e-6)
    assert clock.source == "arrival"
    assert clock.skew_s == pytest.approx(skew_s, rel=1e-6)


def test_a_backlog_after_a_pulled_cable_does_not_make_the_cameras_clock_look_wrong():
    clock = LiveClock()
    for index in range(100):
        pts_s = index * PERIOD_S
        backlog_s = 5.0 if index > 50 else 0.0
        place(clock, pts_s, late_s=backlog_s, sender_s=1000.0 + pts_s)
        if index > 2:
            assert clock.source == "sender report"


def test_without_a_duration_the_period_is_learned_from_the_time_stamps():
    clock = LiveClock()
    for index in range(60):
        start_s, end_s = clock.place(index * 0.2, duration_s=0.0, arrived_s=1000.2 + index * 0.2, sender_s=None)
    assert end_s - start_s == pytest.approx(0.2)
    assert start_s == pytest.approx(1000.0 + 59 * 0.2, abs=0.01)


@pytest.mark.parametrize("jump_s", [-2.0, -0.3, 5.0, 3600.0])
def test_time_stamps_that_jump_do_not_move_time(jump_s: float):
    """A camera that sets its clock may take its time stamps along; its old report is then off by the jump."""
    clock = LiveClock()
    starts_s = []
    for index in range(200):
        at_s = index * PERIOD_S
        if index == 100 and jump_s < 0:
            clock.restart()  # what the reader does when time stamps step back
        pts_s = at_s + (jump_s if index >= 100 else 0.0)
        placed = clock.place(
            pts_s,
            duration_s=PERIOD_S,
            arrived_s=1000.0 + at_s + PERIOD_S,
            sender_s=1000.0 + pts_s if index < 150 else None,
        )
        starts_s.append(placed[0])
    assert starts_s == sorted(starts_s)
    assert starts_s[-1] == pytest.approx(1000.0 + 199 * PERIOD_S, abs=0.5)


def test_a_recording_whose_time_stamps_start_again_goes_on_where_it_was():
    clock = FileClock(100.0)
    clock.place(9.0, duration_s=1.0, arrived_s=0.0, sender_s=None)
    clock.restart()
    assert clock.place(0.0, duration_s=1.0, arrived_s=0.0, sender_s=None) == (110.0, 111.0)
    assert clock.place(1.0, duration_s=1.0, arrived_s=0.0, sender_s=None) == (111.0, 112.0)


@settings(max_examples=60)
@given(
    lateness=st.lists(st.floats(0, 3), min_size=5, max_size=80),
    skew_s=st.floats(-0.4, 0.4),
    reports_from=st.integers(0, 60),
)
def test_starts_never_go_back_whatever_the_network_and_the_reports_do(
    lateness: list[float], skew_s: float, reports_from: int
):
    clock = LiveClock()
    starts_s = [
        place(
            clock,
            index * PERIOD_S,
            late_s=late_s,
            sender_s=1000.0 + index * PERIOD_S + skew_s if index >= reports_from else None,
        )
        for index, late_s in enumerate(lateness)
    ]
    assert starts_s == sorted(starts_s)
