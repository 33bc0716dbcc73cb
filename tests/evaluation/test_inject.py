"""Edits do what they say, by as much as they say."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.evaluation import inject
from mmstream.evaluation.inject_sensor import deviation, with_fault
from mmstream.types import UInt8

BOX_PX = (16, 10)


def walkers(count: int = 40, *, lanes: tuple[int, ...] = (30,), step_px: int = 2, level: int = 190) -> UInt8:
    """(count, 80, 120, 3): one block of 12 x 6 px in each lane, walking right over a still scene."""
    scene = np.full((80, 120, 3), 90, np.uint8)
    scene[40:] = 120
    pictures = np.repeat(scene[None], count, axis=0)
    for number in range(count):
        for lane in lanes:
            left = 8 + number * step_px
            pictures[number, lane : lane + 12, left : left + 6] = level
    return pictures


def empty() -> UInt8:
    return walkers(1, lanes=())[0]


def columns_of(pictures: UInt8, rows: slice) -> list[float]:
    """Middle of what is brighter than the scene in these rows, picture by picture."""
    return [float(np.flatnonzero((picture[rows] > 150).any(axis=(0, 2))).mean()) for picture in pictures]


def test_tempo_and_reverse_change_how_fast_and_which_way_things_move() -> None:
    pictures = walkers()
    fast = inject.tempo(pictures, 3.0)
    assert len(fast) == 14
    assert np.diff(columns_of(fast, slice(30, 42))).mean() == pytest.approx(6.0)
    assert np.diff(columns_of(inject.reverse(pictures), slice(30, 42))).mean() == pytest.approx(-2.0)
    with pytest.raises(ValueError, match="want a tempo above 0"):
        inject.tempo(pictures, 0.0)


def test_a_frozen_camera_repeats_even_its_noise() -> None:
    frozen = inject.freeze(walkers())
    assert len(frozen) == 40
    assert (frozen == frozen[0]).all()


def test_a_cover_darkens_its_share_and_leaves_the_rest() -> None:
    half, whole = inject.cover(walkers(), 0.5), inject.cover(walkers(), 1.0)
    assert half[:, :, :50].mean() < 20
    assert (half[:, :, 70:] == walkers()[:, :, 70:]).all()
    assert whole.max() <= 12


def test_a_defocused_picture_has_its_light_but_not_its_edges() -> None:
    sharp = walkers(3)
    soft = inject.defocus(sharp, 4.0)
    assert soft.mean() == pytest.approx(sharp.mean(), abs=1.0)
    assert np.abs(np.diff(soft.astype(int), axis=2)).max() < np.abs(np.diff(sharp.astype(int), axis=2)).max() / 2


def test_a_knocked_camera_shows_everything_elsewhere() -> None:
    moved = inject.shift(walkers(), 0.1)
    assert np.subtract(columns_of(walkers(), slice(30, 42)), columns_of(moved, slice(30, 42)))[5:].mean() == 12.0


def test_the_empty_scene_has_nobody_in_it() -> None:
    assert (inject.empty_scene(walkers()) == empty()).all()
    assert inject.something_there(walkers(), empty()).mean() == pytest.approx(72 / 9600, rel=0.01)


def test_a_walker_is_cut_out_with_the_path_that_he_took() -> None:
    blob = inject.cut_blob(walkers(), empty(), box_px=BOX_PX)
    assert blob is not None
    assert len(blob.corners) == 40
    assert np.diff(blob.corners[:, 1]).mean() == pytest.approx(2.0, abs=0.1)
    assert blob.opacity.max() > 0.9
    assert blob.opacity[:, 0, 0].max() < 0.2, "the scene around him is not cut out with him"


def test_nobody_is_cut_out_of_an_empty_scene_or_through_a_neighbour() -> None:
    assert inject.cut_blob(walkers(lanes=()), empty(), box_px=BOX_PX) is None
    assert inject.cut_blob(walkers(lanes=(20, 32, 44)), empty(), box_px=(12, 6)) is None


def test_a_transplanted_walker_walks_elsewhere_as_bright_as_the_light_there() -> None:
    blob = inject.cut_blob(walkers(), empty(), box_px=BOX_PX)
    assert blob is not None
    pasted = inject.transplant(walkers(lanes=()), blob, empty(), by_px=(30, 5))
    there = inject.something_there(pasted, empty())
    assert there[:, 58:74].any(axis=(1, 2)).all()
    assert not there[:, :50].any()
    assert pasted[20, 60:72].max() == pytest.approx(190 * 120 / 97.5, abs=6.0), "his box was at 97.5 on average"
    own = inject.transplant(walkers(lanes=()), blob, empty(), by_px=(0, 0))
    assert np.abs(own.astype(int) - walkers()).mean() < 0.5, "in his own place nothing tells him from a real one"


def test_what_leaves_the_picture_is_cut_off() -> None:
    blob = inject.cut_blob(walkers(), empty(), box_px=BOX_PX)
    assert blob is not None
    outside = inject.transplant(walkers(lanes=()), blob, empty(), by_px=(-200, 0))
    assert (outside == walkers(lanes=())).all()
    edge = inject.transplant(walkers(lanes=()), blob, empty(), by_px=(0, 60))
    assert edge.shape == outside.shape


def test_a_hurrying_walker_takes_the_same_way_in_less_time() -> None:
    blob = inject.cut_blob(walkers(), empty(), box_px=BOX_PX)
    assert blob is not None
    fast = blob.faster(2.0)
    assert len(fast.corners) == 20
    assert fast.corners[-1, 1] == pytest.approx(blob.corners[-1, 1], abs=3)


def test_the_rarest_place_is_where_nobody_ever_is() -> None:
    blob = inject.cut_blob(walkers(), empty(), box_px=BOX_PX)
    assert blob is not None
    occupied = np.full((80, 120), 0.5, np.float32)
    occupied[60:] = 0.0
    rows, _ = inject.rarest_place(blob, occupied, random=np.random.default_rng(0))
    assert blob.corners[0, 0] + rows + BOX_PX[0] // 2 >= 60


@pytest.fixture
def calm() -> np.ndarray:
    return np.random.default_rng(0).normal(20.0, 2.0, 600)


def test_sensor_faults_are_as_large_as_asked(calm: np.ndarray) -> None:
    step = deviation(calm, 500)
    assert step == pytest.approx(2.0 * 0.6745, rel=0.15)
    for fault, row, moved in (("spike", 500, 8.0), ("level_shift", 520, 8.0), ("drift", 529, 8.0), ("drift", 500, 0.0)):
        faulty = with_fault(calm, fault, first=500, last=530, magnitude=8.0)  # type: ignore[arg-type]
        assert (faulty[row] - calm[row]) / step == pytest.approx(moved)
        assert (faulty[530:] == calm[530:]).all()
        assert (faulty[:500] == calm[:500]).all()
    assert (with_fault(calm, "flat", first=500, last=530, magnitude=0.0)[500:530] == calm[500]).all()
    assert np.isnan(with_fault(calm, "dropout", first=500, last=530, magnitude=0.0)[500:530]).all()


def test_faults_that_cannot_be_made_are_told(calm: np.ndarray) -> None:
    with pytest.raises(ValueError, match="there is no fault 'gone'"):
        with_fault(calm, "gone", first=500, last=530, magnitude=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="want rows within"):
        with_fault(calm, "spike", first=500, last=900, magnitude=1.0)
    assert deviation(np.ones(50), 50) > 0.0
