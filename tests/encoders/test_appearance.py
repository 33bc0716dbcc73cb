"""What the scene looks like: what must change the vector and what must not."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mmstream.downscale import area_reduced
from mmstream.encoders.appearance import GRID, AppearanceEncoder, spread_out
from mmstream.stages import Locating
from mmstream.testing import make_luma
from mmstream.types import Float32, Frame, UInt8, Where, Window


def make_frame(start_s: float, luma: UInt8, chroma: tuple[float, float] = (128.0, 128.0)) -> Frame:
    return Frame(feed_id="cam", start_s=start_s, end_s=start_s + 0.2, is_key=False, luma=luma, chroma=chroma)


def encode(*lumas: UInt8, chroma: tuple[float, float] = (128.0, 128.0)) -> Float32:
    frames = tuple(make_frame(0.2 * n, luma, chroma) for n, luma in enumerate(lumas))
    answer = AppearanceEncoder().encode(Window(feed_id="cam", start_s=0.0, end_s=2.0, frames=frames))
    assert answer is not None
    return answer.vector


def normal_windows(count: int = 60) -> Float32:
    """The same scene in slightly changing light."""
    return np.stack([encode(make_luma(n, level=105 + n % 11)) for n in range(count)])


def distance(vector: Float32, history: Float32) -> float:
    """To the nearest window of the history, each number divided by its own spread."""
    spread = history.std(axis=0) + 0.02
    return float(np.linalg.norm((history - vector) / spread, axis=1).min())


@pytest.fixture(scope="module")
def history() -> Float32:
    return normal_windows()


@pytest.fixture(scope="module")
def ordinary(history: Float32) -> float:
    """How far ordinary windows that are not in the history are from it."""
    return max(distance(encode(make_luma(1000 + n, level=105 + n % 11)), history) for n in range(20))


def test_the_lights_going_out_is_far_from_everything(history: Float32, ordinary: float) -> None:
    dark = (make_luma(5) * 0.06).astype(np.uint8)
    assert distance(encode(dark), history) > 3 * ordinary


def test_another_picture_is_far_from_everything(history: Float32, ordinary: float) -> None:
    assert distance(encode(np.ascontiguousarray(make_luma(5)[::-1, ::-1])), history) > 3 * ordinary


def test_something_large_that_never_was_there_is_far_from_everything(history: Float32, ordinary: float) -> None:
    luma = make_luma(5)
    luma[50:100, 100:150] = 30
    assert distance(encode(luma), history) > 3 * ordinary


def test_a_picture_that_loses_its_colours_is_noticed(history: Float32, ordinary: float) -> None:
    assert distance(encode(make_luma(5), chroma=(100.0, 150.0)), history) > 3 * ordinary


def test_a_brighter_and_stronger_light_leaves_the_cells_as_they_are() -> None:
    luma = make_luma(0).astype(np.float64)
    usual, bright = encode(luma.astype(np.uint8)), encode((luma * 1.2 + 10).astype(np.uint8))
    np.testing.assert_allclose(bright[:144], usual[:144], atol=0.1)
    assert bright[144] > usual[144] + 1.0
    assert bright[145] == pytest.approx(usual[145] + np.log2(1.2), abs=0.05)


def test_what_only_passes_leaves_no_trace() -> None:
    lumas = [make_luma(n) for n in range(5)]
    lumas[2][50:100, 100:150] = 0
    np.testing.assert_allclose(encode(*lumas), encode(*[make_luma(n) for n in range(5)]), atol=0.1)


def test_darkness_is_not_blown_up_into_a_scene() -> None:
    vector = encode(np.random.default_rng(0).integers(0, 4, (136, 240), dtype=np.uint8))
    assert np.abs(vector[:144]).max() < 0.1


def test_one_key_frame_of_a_sleeping_feed_is_enough_and_none_is_nothing() -> None:
    assert encode(make_luma(0)).shape == (AppearanceEncoder().dim,)
    assert AppearanceEncoder().encode(Window(feed_id="cam", start_s=0.0, end_s=2.0)) is None


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (5, 5), (60, 5)])
def test_at_most_five_frames_are_looked_at_from_first_to_last(count: int, expected: int) -> None:
    frames = tuple(make_frame(float(n), make_luma(0)[:4, :4]) for n in range(count))
    picked = [frame.start_s for frame in spread_out(frames, 5)]
    assert len(picked) == expected
    assert (picked[0], picked[-1]) == (0.0, count - 1)
    assert picked == sorted(set(picked))


def test_a_frame_that_lies_in_two_windows_gives_the_same_bytes_as_when_reduced_anew() -> None:
    frames = tuple(make_frame(0.2 * n, make_luma(n), (120.0 + n, 130.0)) for n in range(20))
    warm = AppearanceEncoder()
    for at in (0, 5, 10):
        window = Window(feed_id="cam", start_s=0.2 * at, end_s=0.2 * at + 2, frames=frames[at : at + 10])
        kept, anew = warm.encode(window), AppearanceEncoder().encode(window)
        assert kept is not None
        assert anew is not None
        assert kept.vector.tobytes() == anew.vector.tobytes()
        warm = pickle.loads(pickle.dumps(warm)) if at == 5 else warm


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_the_cells_are_in_units_of_the_quartiles_of_the_median_picture(count: int) -> None:
    lumas = [make_luma(n, level=90 + 7 * n) for n in range(count)]
    cells = np.median([area_reduced(luma, *GRID) for luma in lumas], axis=0)
    low, middle, high = np.percentile(cells, (25, 50, 75))
    vector = encode(*lumas)
    np.testing.assert_allclose(vector[:144], (cells.ravel() - middle) / ((high - low) / 1.349), rtol=1e-4, atol=1e-5)
    assert vector[144] == pytest.approx(middle / 16)


def located(before: UInt8, after: UInt8) -> Where | None:
    return AppearanceEncoder.locate(encode(after), encode(before))


def test_something_new_is_found_where_it_is() -> None:
    before, after = make_luma(5), make_luma(6)
    after[50:100, 100:150] = 30
    where = located(before, after)
    assert where is not None
    assert where.region is not None
    height, width = before.shape
    np.testing.assert_allclose(where.region, (100 / width, 50 / height, 150 / width, 100 / height), atol=0.08)


def test_of_two_changes_apart_the_larger_one_is_framed() -> None:
    before = np.full((144, 240), 100, np.uint8)
    before[:, ::2] = 140
    after = before.copy()
    after[:32, :30] = 255
    after[112:, 195:] = 190
    where = located(before, after)
    assert where is not None
    assert where.region is not None
    assert where.region[2] < 0.3
    assert where.region[3] < 0.4


def test_the_same_scene_is_nowhere_different_and_without_a_past_nothing_is_said() -> None:
    assert located(make_luma(5), make_luma(5)) is None
    assert AppearanceEncoder.locate(encode(make_luma(5)), None) is None


def test_a_change_of_light_alone_is_all_over_the_picture() -> None:
    vector = encode(make_luma(5))
    brighter = vector.copy()
    brighter[144] += 1.0
    assert AppearanceEncoder.locate(brighter, vector) == Where(region=(0.0, 0.0, 1.0, 1.0))


def test_lights_that_go_out_are_all_over_the_picture() -> None:
    assert located(make_luma(5), (make_luma(5) * 0.06).astype(np.uint8)) == Where(region=(0.0, 0.0, 1.0, 1.0))


def test_the_encoder_can_tell_where() -> None:
    assert isinstance(AppearanceEncoder(), Locating)
