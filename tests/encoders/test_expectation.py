"""Who moves as fast as things that look so usually do is no surprise; who moves faster is."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.encoders.expectation import ExpectationEncoder, surprise_of
from mmstream.encoders.expectation_input import Background, as_seen, speeds_of
from mmstream.encoders.expectation_net import TrainedNet
from mmstream.encoders.expectation_training import train_expectation
from mmstream.errors import ConfigError, StageError
from mmstream.stages import EdgeEncoder, Locating
from mmstream.types import Float32, Frame, UInt8, Window
from tests.encoders.street import FAST, SLOW, Thing, make_frame, make_street, make_window


@pytest.fixture(scope="module")
def net() -> TrainedNet:
    return train_expectation(make_street(200), steps=120, seed=1)


def test_what_looks_slow_and_moves_fast_is_the_greatest_surprise(net: TrainedNet):
    walker = ExpectationEncoder(weights=net).encode(make_window(Thing(kind="walker", x=20, speed=SLOW)))
    car = ExpectationEncoder(weights=net).encode(make_window(Thing(kind="car", x=20, speed=FAST)))
    runner = ExpectationEncoder(weights=net).encode(make_window(Thing(kind="walker", x=20, speed=FAST)))
    assert walker is not None
    assert car is not None
    assert runner is not None
    assert runner.vector[0] > 2 * max(walker.vector[0], car.vector[0])


def test_the_region_is_where_the_surprise_is_and_the_speeds_say_why(net: TrainedNet):
    runner = ExpectationEncoder(weights=net).encode(
        make_window(Thing(kind="car", x=60, speed=FAST), Thing(kind="walker", x=20, speed=FAST))
    )
    assert runner is not None
    where = ExpectationEncoder.locate(runner.vector, None)
    assert where is not None
    assert where.region is not None
    left, top, right, bottom = where.region
    assert left < 20 / 96 < right < 0.5 < bottom
    assert 0.0 <= top < bottom <= 1.0
    measured, expected = runner.vector[5:7]
    assert measured > 1.5 * expected


def test_nothing_that_moves_is_no_surprise_and_nowhere(net: TrainedNet):
    empty = ExpectationEncoder(weights=net).encode(make_window())
    assert empty is not None
    assert empty.vector[0] == 0.0
    assert ExpectationEncoder.locate(empty.vector, None) is None


def test_without_weights_there_is_no_evidence():
    assert ExpectationEncoder().encode(make_window(Thing(kind="walker", x=20, speed=FAST))) is None
    assert ExpectationEncoder(weights="").encode(make_window()) is None


def test_without_motion_vectors_there_is_no_evidence(net: TrainedNet):
    frames = tuple(make_frame(number * 0.2, motion=False) for number in range(5))
    window = Window(feed_id="street", start_s=0.0, end_s=1.0, frames=frames)
    assert ExpectationEncoder(weights=net).encode(window) is None
    assert ExpectationEncoder(weights=net).encode(Window(feed_id="street", start_s=0.0, end_s=1.0)) is None


def test_a_key_frame_without_vectors_does_not_silence_a_window(net: TrainedNet):
    window = make_window(Thing(kind="walker", x=20, speed=FAST))
    frames = (make_frame(window.start_s, motion=False), *window.frames[1:])
    found = ExpectationEncoder(weights=net).encode(
        Window(feed_id="street", start_s=window.start_s, end_s=window.end_s, frames=frames)
    )
    assert found is not None
    assert found.vector[0] > 0.0


def test_a_picture_in_two_windows_is_measured_once(net: TrainedNet, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, ...]] = []
    real = TrainedNet.expect

    def counted(self: TrainedNet, seen: Float32) -> tuple[Float32, Float32]:
        asked.append(seen.shape)
        return real(self, seen)

    monkeypatch.setattr(TrainedNet, "expect", counted)
    encoder = ExpectationEncoder(weights=net)
    window = make_window(Thing(kind="walker", x=20, speed=FAST))
    first, second = encoder.encode(window), encoder.encode(window)
    assert len(asked) == len(window.frames)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.vector, second.vector)


def test_what_is_remembered_does_not_travel_to_another_process(net: TrainedNet):
    encoder = ExpectationEncoder(weights=net)
    window = make_window(Thing(kind="walker", x=20, speed=FAST))
    alone = pickle.loads(pickle.dumps(encoder)).encode(window)
    here = encoder.encode(window)
    assert here is not None
    assert alone is not None
    assert np.array_equal(here.vector, alone.vector)
    assert alone.model == here.model == net.model


def test_it_is_an_edge_encoder_that_can_say_where(net: TrainedNet):
    encoder = ExpectationEncoder(weights=net)
    assert isinstance(encoder, EdgeEncoder)
    assert isinstance(encoder, Locating)
    found = encoder.encode(make_window(Thing(kind="walker", x=20, speed=FAST)))
    assert found is not None
    assert found.vector.shape == (encoder.dim,)
    assert (found.channel, found.model) == (ExpectationEncoder.channel.name, encoder.model)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_box_must_fit_the_picture(share: float):
    with pytest.raises(ValueError, match="box_share"):
        ExpectationEncoder(box_share=share)


def test_slower_than_expected_is_no_surprise():
    speeds, expected, scale = (np.full((1, 1), number, np.float32) for number in (1.0, 3.0, 0.05))
    assert surprise_of(speeds, expected, scale) == pytest.approx(np.log(0.05) + 3.0, abs=1e-5)
    faster = surprise_of(speeds, np.full_like(speeds, 0.5), scale)
    assert faster == pytest.approx(0.5 / 0.05 + np.log(0.05) + 3.0, abs=1e-4)


def test_the_background_keeps_no_trace_of_who_passes_and_takes_in_what_stays():
    empty = np.full((4, 4), 100, np.uint8)
    passed = empty.copy()
    passed[0, 0] = 200
    background = Background(empty)
    for luma in [passed] * 5 + [empty] * 20:
        last = background.push(luma)
    assert np.array_equal(last, empty)
    for _ in range(120):
        last = background.push(passed)
    assert np.array_equal(last, passed)


def test_the_background_starts_afresh_with_another_size():
    background = Background(np.zeros((4, 4), np.uint8))
    assert np.array_equal(background.push(np.full((2, 6), 7, np.uint8)), np.full((2, 6), 7))


def test_what_is_seen_is_the_picture_and_its_difference_to_the_background():
    seen = as_seen(np.full((2, 3), 178, np.float32), np.full((2, 3), 148, np.float32))
    assert seen.shape == (2, 2, 3)
    assert np.allclose(seen, 1.0)


@given(
    height=st.integers(2, 40).map(lambda half: 2 * half),
    width=st.integers(8, 90),
    rows=st.integers(1, 70),
    cols=st.integers(1, 90),
)
def test_what_moves_one_way_keeps_its_mean_on_the_grid_of_the_net(height: int, width: int, rows: int, cols: int):
    field = np.random.default_rng(rows * cols).random((rows, cols, 2), np.float32)
    field[..., 1] = 0.0
    speeds = speeds_of(
        Frame(feed_id="f", start_s=0.0, end_s=0.1, is_key=False, luma=np.zeros((height, width), np.uint8), motion=field)
    )
    assert speeds is not None
    assert speeds.shape == (-(-height // 4), -(-width // 4))
    assert speeds.mean() == pytest.approx(0.36 * field[..., 0].mean(), rel=1e-3)


def test_vectors_that_point_every_way_in_one_cell_cancel():
    field = np.zeros((4, 4, 2), np.float32)
    field[::2, :, 0], field[1::2, :, 0] = 5.0, -5.0
    luma = np.zeros((8, 8), np.uint8)
    speeds = speeds_of(Frame(feed_id="f", start_s=0.0, end_s=0.1, is_key=False, luma=luma, motion=field))
    assert speeds is not None
    assert np.allclose(speeds, 0.0)


def test_weights_come_back_as_they_were_with_the_range_of_their_training(net: TrainedNet, tmp_path):
    file = tmp_path / "expectation.safetensors"
    file.write_bytes(net.save())
    seen = np.random.default_rng(0).normal(size=(2, 48, 96)).astype(np.float32)
    for back in (TrainedNet.load(file), TrainedNet.load(str(file)), TrainedNet.load(net.save())):
        assert (back.model, back.start_s, back.end_s, back.num_frames) == (
            net.model,
            net.start_s,
            net.end_s,
            net.num_frames,
        )
        assert np.array_equal(back.background, net.background)
        assert np.array_equal(back.expect(seen), net.expect(seen))


def test_other_weights_are_another_model(net: TrainedNet):
    other = TrainedNet(
        arrays={**net.arrays, "out.b": net.arrays["out.b"] + np.float32(0.01)},
        background=net.background,
        start_s=net.start_s,
        end_s=net.end_s,
        num_frames=net.num_frames,
    )
    assert other.model != net.model
    assert other.model.startswith("expectation@1-")


def test_what_are_not_its_weights_is_said_in_one_sentence(net: TrainedNet, tmp_path):
    good = net.save()
    with pytest.raises(ConfigError, match="train the expectation channel"):
        TrainedNet.load(tmp_path / "none.safetensors")
    for bad in (b"", b"not weights at all", good[: len(good) // 2]):
        with pytest.raises(ConfigError, match="train the expectation channel"):
            TrainedNet.load(bad + b"" if bad else b"\0")
    from safetensors.numpy import save

    with pytest.raises(ConfigError, match="no weights of expectation@1"):
        TrainedNet.load(save({"a": np.zeros(3, np.float32)}, {"model": "other"}))
    with pytest.raises(ConfigError, match="no weights of expectation@1"):
        TrainedNet.load(save({"a": np.zeros(3, np.float32)}))


def test_weights_of_another_shape_or_changed_afterwards_are_refused(net: TrainedNet):
    wrong = TrainedNet(
        arrays={**net.arrays, "out.b": np.zeros(3, np.float32)},
        background=net.background,
        start_s=0.0,
        end_s=1.0,
        num_frames=1,
    )
    with pytest.raises(ConfigError, match="out has the shapes"):
        TrainedNet.load(wrong.save())
    content = bytearray(net.save())
    at = 8 + int.from_bytes(content[:8], "little") + 2000  # among the weights
    content[at] ^= 1
    with pytest.raises(ConfigError, match="train the"):
        TrainedNet.load(bytes(content))


def test_the_same_pictures_and_seed_give_the_same_net():
    nets = [train_expectation(make_street(110), steps=3, seed=seed) for seed in (5, 5, 6)]
    assert nets[0].model == nets[1].model != nets[2].model


def test_training_does_not_touch_the_random_numbers_or_threads_of_others():
    import torch

    torch.manual_seed(3)
    before = torch.random.get_rng_state(), torch.get_num_threads()
    train_expectation(make_street(110), steps=1)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == torch.get_num_threads()


def test_training_tells_how_far_it_is():
    steps: list[tuple[int, int]] = []
    train_expectation(make_street(110), steps=4, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("motion", [True, False])
def test_too_little_to_learn_from_is_said_with_the_number(motion: bool):
    frames = [make_frame(number * 0.2, motion=motion) for number in range(50)]
    with pytest.raises(StageError, match=f"^{50 if motion else 0} normal pictures"):
        train_expectation(frames)


def test_pictures_of_a_size_that_is_no_multiple_of_a_cell_are_learned():
    def odd(frame: Frame) -> UInt8:
        return np.ascontiguousarray(frame.luma[:-2, :-1])

    frames = [
        Frame(feed_id="f", start_s=f.start_s, end_s=f.end_s, is_key=False, luma=odd(f), motion=f.motion)
        for f in make_street(110)
    ]
    net = train_expectation(frames, steps=2)
    speed, scale = net.expect(np.zeros((2, 46, 95), np.float32))
    assert speed.shape == scale.shape == (12, 24)
    assert (scale > 0.05).all()


def test_it_runs_without_torch():
    code = (
        "import sys; import mmstream.encoders.expectation as e; e.ExpectationEncoder();"
        "sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
