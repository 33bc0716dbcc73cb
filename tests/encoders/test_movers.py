"""What moves, where it goes and what it looks like."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from mmstream.encoders.movers import MOMENTS, moments, movers
from mmstream.encoders.place import PlaceEncoder
from mmstream.encoders.shapes import CELLS, MAX_PARTS, PART_DIM, PATCH_PX, ShapesEncoder, appearances
from mmstream.types import Embedding, Float32, Frame, UInt8, Window
from tests.encoders.test_motion import COLS, ROWS, make_field

HEIGHT, WIDTH = 136, 240


def make_luma(*, col: int = 40, row: int = 20, striped: str = "", level: int = 100) -> UInt8:
    """A thing of 9 x 9 cells on an even ground: stripes ``up`` and down, ``across``, or none."""
    luma = np.full((HEIGHT, WIDTH), level, np.uint8)
    top, left = round(row * HEIGHT / ROWS), round(col * WIDTH / COLS)
    thing = np.full((24, 24), 200, np.uint8)
    if striped == "up":
        thing[:, ::4] = thing[:, 1::4] = 20
    if striped == "across":
        thing[::4] = thing[1::4] = 20
    luma[top : top + 24, left : left + 24] = thing
    return luma


def make_frames(fields: Sequence[Float32 | None], lumas: Sequence[UInt8], start_s: float = 0.0) -> tuple[Frame, ...]:
    return tuple(
        Frame(
            feed_id="cam", start_s=start_s + 0.2 * n, end_s=start_s + 0.2 * n + 0.2, is_key=False, luma=luma, motion=m
        )
        for n, (m, luma) in enumerate(zip(fields, lumas, strict=True))
    )


def make_window(frames: tuple[Frame, ...]) -> Window:
    return Window(feed_id="cam", start_s=frames[0].start_s, end_s=frames[0].start_s + 2.0, frames=frames)


def encode(encoder: ShapesEncoder | PlaceEncoder, window: Window) -> Embedding:
    answer = encoder.encode(window)
    assert answer is not None
    return answer


def parts_of(answer: Embedding) -> Float32:
    parts = answer.vector.reshape(MOMENTS * MAX_PARTS, -1)
    return parts[parts[:, 0] > 0]


def shape_of(striped: str, *, ground: int = 100) -> Float32:
    """What the encoder makes of a thing that comes into an empty scene."""
    encoder = ShapesEncoder()
    still = make_frames([make_field(0.0)] * 10, [np.full((HEIGHT, WIDTH), ground, np.uint8)] * 10)
    assert not encode(encoder, make_window(still)).vector.any()
    luma = make_luma(striped=striped, level=ground)
    moving = make_frames([make_field(6.0)] * 10, [luma] * 10, start_s=2.0)
    shape: Float32 = parts_of(encode(encoder, make_window(moving)))[0, 3:]
    return shape


def test_two_things_are_two_boxes_the_faster_first() -> None:
    field = make_field(8.0, row=10, col=10, towards=np.pi / 2) + make_field(4.0, row=30, col=70)
    found = movers(field, 8)
    assert found[0].speed == pytest.approx(8.0, rel=1e-4)
    assert found[0].towards == pytest.approx((0.0, 8.0), abs=1e-4)
    assert (found[0].left, found[0].top) == pytest.approx((10 / COLS, 10 / ROWS), abs=0.03)
    second = next(box for box in found if box.left > 0.5)
    assert second.speed == pytest.approx(4.0, rel=1e-4)


def test_boxes_of_one_thing_are_few_and_what_stands_has_none() -> None:
    assert len(movers(make_field(6.0), 20)) <= 9
    assert movers(make_field(1.0), 8) == []
    assert len(movers(np.full((ROWS, COLS, 2), 5.0, np.float32), 8)) == 8


def test_windows_that_overlap_look_at_the_same_moments() -> None:
    frames = make_frames([make_field(6.0)] * 15, [make_luma()] * 15)
    first = moments(frames[:10], 2.0)
    second = moments(frames[5:], 2.0)
    assert len(first) == len(second) == MOMENTS
    assert first[2:] == second[:2]
    assert len(moments(frames[:3], 0.5)) == 3
    assert moments(make_frames([None] * 10, [make_luma()] * 10), 2.0) == []


def test_what_looks_otherwise_is_far_and_the_ground_behind_it_does_not_matter() -> None:
    up, across = shape_of("up"), shape_of("across")
    assert up.shape == (PART_DIM - 3,)
    assert np.linalg.norm(up - across) > 2.0
    assert np.linalg.norm(shape_of("") - across) > 1.0
    assert np.linalg.norm(shape_of("up", ground=104) - up) < 0.5


def test_directions_of_edges_go_to_their_bins() -> None:
    ramp = np.tile(np.arange(PATCH_PX + 4, dtype=np.float32) * 8, (PATCH_PX + 4, 1))
    flat, steep = appearances(np.stack([ramp, ramp.T]))[:, :8]
    assert (flat.argmax(), steep.argmax()) == (0, 4), "the first eight are the sums over all cells"
    assert flat[0] == pytest.approx(steep[4], rel=1e-4)
    assert not appearances(np.zeros((1, PATCH_PX + 4, PATCH_PX + 4), np.float32)).any()
    assert CELLS * CELLS * 8 == 128


def test_what_stands_in_the_scene_for_long_belongs_to_its_background() -> None:
    encoder = ShapesEncoder()
    luma = make_luma(striped="up")
    empty = make_frames([make_field(0.0)] * 10, [np.full((HEIGHT, WIDTH), 100, np.uint8)] * 10)
    encode(encoder, make_window(empty))
    strengths = []
    for number in range(30):
        frames = make_frames([make_field(6.0)] * 10, [luma] * 10, start_s=2.0 + 2.0 * number)
        strengths.append(float(np.abs(parts_of(encode(encoder, make_window(frames)))[:, 3:]).sum()))
    assert strengths[-1] < 0.3 * strengths[0]


def test_a_moment_in_two_windows_gives_the_same_after_a_move_to_another_process() -> None:
    random = np.random.default_rng(0)
    lumas = [random.integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8) for _ in range(20)]
    fields = [random.normal(0, 6, (ROWS, COLS, 2)).astype(np.float32) + make_field(8.0) for _ in range(20)]
    frames = make_frames(fields, lumas)
    for make in (ShapesEncoder, PlaceEncoder):
        stayed, moved = make(), make()
        for at in (0, 5):
            encode(stayed, make_window(frames[at : at + 10]))
            encode(moved, make_window(frames[at : at + 10]))
        moved = pickle.loads(pickle.dumps(moved))
        last = make_window(frames[10:])
        assert encode(moved, last).vector.tobytes() == encode(stayed, last).vector.tobytes()


def test_a_wrong_way_differs_from_the_right_one_and_so_does_another_place() -> None:
    def place(towards: float, col: int = 40, speed: float = 6.0) -> Float32:
        fields = [make_field(speed, col=col, towards=towards)] * 10
        strongest: Float32 = parts_of(encode(PlaceEncoder(), make_window(make_frames(fields, [make_luma()] * 10))))[0]
        return strongest[3:]

    right = place(0.0)
    assert np.linalg.norm(right - place(0.1)) < 0.4
    for other in (place(np.pi), place(0.0, col=5), place(0.0, speed=18.0)):
        assert np.linalg.norm(right - other) > 1.0


def test_without_motion_vectors_there_is_no_answer() -> None:
    window = make_window(make_frames([None] * 10, [make_luma()] * 10))
    assert ShapesEncoder().encode(window) is None
    assert PlaceEncoder().encode(window) is None
