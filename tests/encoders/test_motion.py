"""The speed of the fastest thing of an object's size."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.encoders.motion import MotionEncoder, box_means, trailing_means
from mmstream.types import Embedding, Float32, Frame, Window

ROWS, COLS = 51, 90


def make_field(speed: float = 0.0, *, size: int = 9, row: int = 20, col: int = 40, towards: float = 0.0) -> Float32:
    """One square thing that moves at ``speed`` towards ``towards`` (radians; 0 right, pi / 2 down)."""
    motion = np.zeros((ROWS, COLS, 2), np.float32)
    motion[row : row + size, col : col + size] = speed * np.cos(towards), speed * np.sin(towards)
    return motion


def make_window(fields: Sequence[Float32 | None], lumas: Sequence[int] | None = None, step_s: float = 0.2) -> Window:
    frames = tuple(
        Frame(
            feed_id="cam",
            start_s=step_s * n,
            end_s=step_s * (n + 1),
            is_key=n == 0,
            luma=np.full((136, 240), lumas[n] if lumas else 100, np.uint8),
            motion=field,
        )
        for n, field in enumerate(fields)
    )
    return Window(feed_id="cam", start_s=0.0, end_s=2.0, frames=frames)


def encode(window: Window) -> Embedding:
    answer = MotionEncoder().encode(window)
    assert answer is not None
    return answer


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10_000))
def test_box_means_are_the_means_of_all_boxes_that_lie_inside(size: int, rows: int, cols: int, seed: int) -> None:
    strength = np.random.default_rng(seed).random((rows, cols), dtype=np.float32)
    means = box_means(strength, size)
    high, wide = min(size, rows), min(size, cols)
    assert means.shape == (rows - high + 1, cols - wide + 1)
    for row, col in itertools.product(range(means.shape[0]), range(means.shape[1])):
        assert means[row, col] == pytest.approx(float(strength[row : row + high, col : col + wide].mean()), abs=1e-5)


def test_box_speed_is_the_speed_of_a_thing_that_fills_the_box() -> None:
    assert encode(make_window([make_field(7.0)] * 10)).vector[0] == pytest.approx(7.0, rel=1e-5)


def test_a_few_wrong_vectors_weigh_less_than_a_slower_object() -> None:
    glitch = encode(make_window([make_field(30.0, size=2)] * 10)).vector[0]
    thing = encode(make_window([make_field(7.0)] * 10)).vector[0]
    assert glitch < 0.3 * thing


def test_something_at_the_edge_of_the_picture_counts_as_much() -> None:
    assert encode(make_window([make_field(7.0, row=0, col=COLS - 9)] * 10)).vector[0] == pytest.approx(7.0, rel=1e-5)


def test_one_frame_of_haste_is_averaged_over_half_a_second() -> None:
    fields = [make_field(2.0)] * 10
    fields[5] = make_field(12.0)
    # three frames of 0.2 s lie in half a second: 12 and two times 2
    assert encode(make_window(fields)).vector[0] == pytest.approx(16 / 3, rel=1e-5)


def test_trailing_means_start_when_there_is_half_a_second_to_average() -> None:
    assert trailing_means([0.0, 0.2, 0.4, 0.6], [9.0, 0.0, 0.0, 3.0], 0.5) == [3.0, 1.0]
    assert trailing_means([0.0, 0.2], [9.0, 1.0], 0.5) == [5.0]


@pytest.mark.parametrize("sector", range(8))
def test_directions_are_told_apart(sector: int) -> None:
    vector = encode(make_window([make_field(6.0, towards=sector * np.pi / 4)] * 10)).vector
    assert vector[3:11].argmax() == sector
    assert vector[3:11].sum() == pytest.approx(1.0)


def test_the_rest_of_the_vector_says_how_much_moves_and_where() -> None:
    vector = encode(make_window([make_field(6.0, row=20, col=40)] * 10)).vector
    share = 81 / (ROWS * COLS)
    assert vector[2] == pytest.approx(share, rel=1e-4)
    assert vector[1] == pytest.approx(6.0 * share, rel=1e-4)
    assert vector[11:13] == pytest.approx([44.5 / COLS, 24.5 / ROWS], abs=0.01)
    assert vector[13] == pytest.approx(9 / ROWS)


@pytest.mark.parametrize(("size", "fits"), [(5, 0), (7, 1), (9, 2), (11, 3), (13, 4)])
def test_every_box_up_to_the_size_of_the_thing_measures_its_whole_speed(size: int, fits: int) -> None:
    boxes = encode(make_window([make_field(7.0, size=size)] * 10)).vector[14:]
    assert boxes[: fits + 1] == pytest.approx([7.0] * (fits + 1), rel=1e-4)
    assert all(slow < 0.9 * 7.0 for slow in boxes[fits + 1 :])


def test_a_crowd_that_walks_both_ways_is_slower_than_one_thing() -> None:
    crowd = make_field(7.0)
    crowd[20:29:2] *= -1
    assert encode(make_window([crowd] * 10)).vector[0] < 2.0


def test_the_fastest_box_is_where_the_region_is() -> None:
    found = MotionEncoder.locate(encode(make_window([make_field(6.0, row=20, col=40)] * 10)).vector, None)
    assert found is not None
    assert found.region == pytest.approx((39.5 / COLS, 20 / ROWS, 48.5 / COLS + 1 / COLS, 29 / ROWS), abs=0.02)
    corner = MotionEncoder.locate(encode(make_window([make_field(6.0, row=0, col=0)] * 10)).vector, None)
    assert corner is not None
    assert corner.region is not None
    assert min(corner.region) >= 0.0
    assert MotionEncoder.locate(encode(make_window([make_field(0.0)] * 10)).vector, None) is None


def test_a_still_scene_gives_zeros_for_speed_share_and_directions() -> None:
    assert not encode(make_window([make_field(0.0)] * 10)).vector[:11].any()


def test_without_motion_vectors_luma_changes_are_another_model() -> None:
    steady = encode(make_window([None] * 10))
    assert steady.model == "luma-change@2"
    assert steady.vector[0] == 0.0
    window = make_window([None] * 10)
    for number, frame in enumerate(window.frames):
        frame.luma[60:84, 20 * number : 20 * number + 24] = 220
    moving = encode(window)
    assert moving.vector[0] > 50
    assert not moving.vector[3:11].any()
    assert moving.vector.shape == steady.vector.shape == (MotionEncoder().dim,)


def test_a_change_of_light_is_no_motion() -> None:
    assert encode(make_window([None] * 10, lumas=[100, 120] * 5)).vector[0] == pytest.approx(0.0)


def test_the_majority_of_frames_decides_which_model() -> None:
    fields: list[Float32 | None] = [make_field(1.0)] * 6
    assert encode(make_window([*fields, None, None, None])).model == "box-motion@2"
    assert encode(make_window([*fields[:3], None, None, None, None])).model == "luma-change@2"


def test_a_sleeping_gate_gives_nothing() -> None:
    encoder = MotionEncoder()
    assert encoder.encode(make_window([])) is None
    assert encoder.encode(make_window([make_field(1.0)])) is None
    assert encoder.encode(make_window([None, None], step_s=1.0)) is None


@pytest.mark.parametrize("moving", [True, False])
def test_a_frame_that_lies_in_two_windows_gives_the_same_bytes_as_when_measured_anew(moving: bool) -> None:
    random = np.random.default_rng(1)
    frames = [
        Frame(
            feed_id="cam",
            start_s=0.2 * n,
            end_s=0.2 * n + 0.2,
            is_key=False,
            luma=random.integers(0, 255, (136, 240), dtype=np.uint8),
            motion=random.normal(0, 3, (ROWS, COLS, 2)).astype(np.float32) if moving else None,
        )
        for n in range(25)
    ]
    frames[17] = dataclasses.replace(frames[17], motion=frames[16].motion)  # as on a key frame
    windows = [
        Window(feed_id="cam", start_s=0.2 * at, end_s=0.2 * at + 2.0, frames=tuple(frames[at : at + 10]))
        for at in (0, 5, 10, 15)
    ]
    warm = MotionEncoder()
    for window in windows:
        kept = warm.encode(window)
        assert kept is not None
        assert kept.vector.tobytes() == encode(window).vector.tobytes()
        warm = pickle.loads(pickle.dumps(warm)) if window is windows[1] else warm


def test_a_picture_that_changes_its_shape_inside_a_window_is_measured_all_the_same() -> None:
    small = np.zeros((30, COLS, 2), np.float32)
    small[10:19, 40:49, 0] = 7.0
    assert encode(make_window([make_field(7.0)] * 5 + [small] * 5)).vector[0] == pytest.approx(7.0, rel=1e-5)


def test_a_box_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 1\.5"):
        MotionEncoder(box_share=1.5)


@pytest.mark.footage
def test_box_speed_finds_cyclists_and_carts_among_walkers(footage: Path) -> None:
    """UCSD Ped2, windows of two seconds: trained on nothing, thresholded on nothing."""
    clips = {clip: ped2_speeds(footage / "ped2" / "test" / f"{clip}.mp4") for clip in ("01", "03", "04")}
    normal = np.concatenate([ped2_speeds(footage / "ped2" / "train" / f"{n:02}.mp4") for n in (4, 8, 12)])
    labels = json.loads((footage / "ped2" / "labels.json").read_text())
    unusual = np.concatenate([speeds[is_unusual(labels, clip, len(speeds))] for clip, speeds in clips.items()])
    assert len(unusual) >= 20
    assert len(normal) >= 20
    auc = (unusual[:, None] > normal[None, :]).mean()
    assert auc > 0.9, f"{auc:.3f}"


def is_unusual(labels: dict[str, dict[str, list[tuple[int, int]]]], clip: str, count: int) -> list[int]:
    """The windows that lie wholly inside a labelled range (frames from 1, inclusive, 10 a second)."""
    ranges = labels["anomalous_frames"][clip]
    return [n for n in range(count) if any(first <= 10 * n + 1 and 10 * n + 20 <= last for first, last in ranges)]


def ped2_speeds(path: Path) -> Float32:
    decode = pytest.importorskip("mmstream.sources.decode")
    media = pytest.importorskip("av")
    from mmstream.types import Packet, StreamParameters

    decoder = decode.Decoder("cam", analysed_fps=10.0, pictures={})
    frames: list[Frame] = []
    with media.open(str(path)) as container:
        stream = container.streams.video[0]
        base = stream.time_base
        parameters = StreamParameters(
            kind="video",
            codec="h264",
            time_base=(base.numerator, base.denominator),
            extradata=bytes(stream.codec_context.extradata or b""),
        )
        for payload in container.demux(stream):
            if payload.size:
                at_s = float(payload.pts * base)
                packet = Packet(
                    feed_id="cam",
                    start_s=at_s,
                    end_s=at_s + 0.1,
                    is_key=payload.is_keyframe,
                    size_bytes=payload.size,
                    stream=parameters,
                    payload=payload,
                )
                frames += decoder.push(packet)
        frames += decoder.flush()
    encoder = MotionEncoder()
    windows = [tuple(f for f in frames if n <= f.start_s < n + 2) for n in range(int(frames[-1].start_s) - 1)]
    answers = [encoder.encode(Window(feed_id="cam", start_s=0.0, end_s=2.0, frames=found)) for found in windows]
    return np.array([answer.vector[0] for answer in answers if answer is not None], np.float32)
