"""What is measured of a camera's own condition, from real encoded pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmstream.alerts.health import HealthTracker
from mmstream.condition import ConditionMeter, edges, median_of_five, sharpness
from mmstream.config import FeedConfig, GateSection
from mmstream.feed_stages import FeedStages
from mmstream.sources.media import MediaSource
from mmstream.testing import make_frame, make_luma, make_samples, make_window
from mmstream.types import Frame, Packet, UInt8, Window
from tests.tampered import film

EPOCH_S = 1_700_000_000.0
FAULTS = (
    ("blurred", 40.0, 57.0),
    ("black", 71.0, 88.0),
    ("mute", 102.0, 119.0),
    ("clipped", 133.0, 150.0),
    ("covered", 164.0, 181.0),
    ("dimmed", 195.0, 212.0),
    ("moved", 226.0, 243.0),
    ("frozen", 257.0, 274.0),
)


def windows_of(path: Path, *, gated: bool = True) -> Iterator[Window]:
    """The windows of a recording as a live camera's gate and decoder would give them, as fast as they can."""
    stages = FeedStages("cam", gate=GateSection(), gated=gated, live=True, pictures={})
    for item in MediaSource(FeedConfig(id="cam", url=str(path), live=False), epoch_s=EPOCH_S):
        if isinstance(item, Packet):
            yield from stages.push(item)
    yield from stages.flush()


def make_seen(start_s: float, luma: UInt8, *, colour: bool = True, is_key: bool = True) -> Window:
    chroma = (120.0, 134.0) if colour else (128.0, 128.0)
    frame = Frame(feed_id="cam", start_s=start_s, end_s=start_s + 0.2, is_key=is_key, luma=luma, chroma=chroma)
    return Window(feed_id="cam", start_s=start_s, end_s=start_s + 2.0, frames=(frame,))


def test_every_fault_of_an_encoded_camera_is_named_within_fifteen_seconds_and_cleared(tmp_path: Path) -> None:
    path = film(tmp_path / "faults.mp4", FAULTS, seconds=FAULTS[-1][2] + 14)
    meter, tracker = ConditionMeter("cam"), HealthTracker("cam")
    told = []
    for window in windows_of(path):
        condition = meter.measure(window)
        told += [(alert.cause, alert.state, condition.end_s - EPOCH_S) for alert in tracker.push(condition)]
    expected = [fault for fault in FAULTS if fault[0] != "dimmed"]
    assert [(cause, state) for cause, state, _ in told] == [
        (cause, state) for cause, _, _ in expected for state in ("open", "closed")
    ]
    for (cause, from_s, to_s), opened, closed in zip(expected, told[::2], told[1::2], strict=True):
        assert opened[2] - from_s <= 15.0, cause
        assert closed[2] - to_s <= 12.0, cause


def test_a_sharp_picture_has_more_laplacian_than_a_soft_one() -> None:
    picture = make_luma()
    soft = ((picture[:-1, :-1].astype(int) + picture[1:, :-1] + picture[:-1, 1:] + picture[1:, 1:]) // 4).astype(
        np.uint8
    )
    assert sharpness(soft) < 0.3 * sharpness(picture)


def test_edges_do_not_depend_on_the_light() -> None:
    # flat areas stay flat: noise would be amplified with the contrast
    picture = np.kron(np.random.default_rng(1).integers(2, 12, (9, 16)) * 20, np.ones((8, 8))).astype(np.uint8)
    bright, dim = edges(picture).astype(int), edges((picture * 0.5).astype(np.uint8)).astype(int)
    assert np.abs(bright - dim).mean() < 3


def test_the_median_of_five_is_the_median() -> None:
    pictures = np.random.default_rng(3).integers(0, 256, (5, 20, 30), dtype=np.uint8)
    assert (median_of_five(*pictures) == np.median(pictures, axis=0)).all()


def test_grey_pictures_are_infrared_after_some_seconds_and_colour_comes_back() -> None:
    meter = ConditionMeter("cam")
    modes = []
    for second in range(30):
        meter.measure(make_seen(float(second), make_luma(second), colour=not 10 <= second < 20))
        modes.append(meter.mode)
    assert modes == [""] * 13 + ["infrared"] * 10 + [""] * 7


def test_one_grey_picture_is_no_night() -> None:
    meter = ConditionMeter("cam")
    for second in range(20):
        meter.measure(make_seen(float(second), make_luma(second), colour=second % 4 != 3))
        assert meter.mode == ""


def test_a_black_picture_says_nothing_about_infrared() -> None:
    meter = ConditionMeter("cam")
    for second in range(40):
        luma = np.zeros((136, 240), np.uint8) if second >= 10 else make_luma(second)
        meter.measure(make_seen(float(second), luma, colour=second < 10))
    assert meter.mode == ""


def test_a_picture_that_stays_is_still_since_its_first_key_frame() -> None:
    meter = ConditionMeter("cam")
    still = [
        meter.measure(make_seen(float(s), make_luma(5) if s >= 5 else make_luma(s, level=90 + 30 * (s % 2)))).still_s
        for s in range(12)
    ]
    assert still[-1] == 6.0
    assert meter.measure(make_seen(12.0, make_luma(99, level=150))).still_s == 0.0


def test_a_window_without_pictures_measures_none() -> None:
    condition = ConditionMeter("cam").measure(make_window(picture=False))
    assert condition.brightness is None
    assert condition.still_s is None


def test_sound_that_stops_coming_is_silence_but_a_camera_without_sound_is_not() -> None:
    meter = ConditionMeter("cam")
    assert meter.measure(make_window(0.0, sound=False)).level_db is None
    level_db = meter.measure(make_window(1.0)).level_db
    assert level_db is not None
    assert -30 < level_db < -15
    assert meter.measure(make_window(2.0, sound=False)).level_db == -120.0


def test_a_full_scale_sine_is_at_zero_decibels() -> None:
    window = make_window(0.0)
    sine = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000).astype(np.float32)
    loud = Window(feed_id="cam", start_s=0.0, end_s=2.0, frames=window.frames, samples=sine, sample_rate_hz=16_000)
    condition = ConditionMeter("cam").measure(loud)
    assert condition.level_db == pytest.approx(0.0, abs=0.01)
    assert make_samples().shape == sine.shape


def test_another_picture_size_starts_over() -> None:
    meter = ConditionMeter("cam")
    for second in range(8):
        meter.measure(make_seen(float(second), make_luma(second)))
    condition = meter.measure(make_seen(8.0, make_luma(8, width_px=160, height_px=90)))
    assert condition.view is None
    assert condition.still_s == 0.0
    assert make_frame().luma.shape == (136, 240)


@pytest.mark.footage
@pytest.mark.parametrize("number", [0, 2])
def test_three_minutes_of_a_real_camera_looped_raise_nothing(number: int, footage: Path) -> None:
    meter, tracker = ConditionMeter("cam"), HealthTracker("cam")
    recorded = [window for window in windows_of(footage / "cameras4" / f"cam{number}.mp4") if window.frames]
    assert len(recorded) > 20
    for turn in range(7):
        shift_s = turn * 28.0
        for window in recorded:
            frames = tuple(
                Frame(
                    feed_id="cam",
                    start_s=frame.start_s + shift_s,
                    end_s=frame.end_s + shift_s,
                    is_key=frame.is_key,
                    luma=frame.luma,
                    chroma=frame.chroma,
                )
                for frame in window.frames
            )
            again = Window(feed_id="cam", start_s=window.start_s + shift_s, end_s=window.end_s + shift_s, frames=frames)
            assert tracker.push(meter.measure(again)) == []
