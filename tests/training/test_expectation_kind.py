"""A camera's expectation net: learned from what was normal there, tried on later days, and put where it can be used."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from mmstream.encoders.expectation import ExpectationEncoder
from mmstream.encoders.expectation_input import SPEED_UNIT, Background
from mmstream.encoders.expectation_net import TrainedNet
from mmstream.encoders.expectation_training import own_torch
from mmstream.errors import ConfigError, StageError
from mmstream.stages import load as load_part
from mmstream.training.expectation import (
    EPOCH_STEPS,
    FILE,
    MIN_SAMPLES,
    STATE_FILE,
    ExpectationKind,
    burst_encoder,
    histories_of,
)
from mmstream.training.footage import MotionSample
from mmstream.training.loop import Fitted, LocalWorker, fit
from mmstream.training.promote import Trial, judge
from mmstream.training.trainee import KINDS
from mmstream.types import Frame, Window
from tests.encoders.street import FAST, SLOW, Thing, make_window
from tests.training.made_up import make_alert
from tests.training.street_corpus import SAMPLES, START_S, make_burst, make_corpus

KIND = ExpectationKind()
EPOCHS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    """A night's work on the street."""

    fitted: Fitted
    folder: Path


def write(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    trainee = KIND.trainee("expectation.street", make_corpus(), {}, parent=None)
    with own_torch(0):
        fitted = fit(trainee, dataclasses.replace(KIND.settings, epochs=EPOCHS), LocalWorker(device="cpu"))
    return Learned(fitted=fitted, folder=write(dict(trainee.export(fitted.module)), tmp_path_factory.mktemp("version")))


def test_the_table_names_it_and_every_camera_that_shows_enough_is_a_subject() -> None:
    assert load_part(KINDS, "expectation") is ExpectationKind
    enough = -(-MIN_SAMPLES // SAMPLES)
    assert KIND.subjects(make_corpus(("north", "south"), num_train=enough)) == [
        "expectation.north",
        "expectation.south",
    ]
    assert KIND.subjects(make_corpus(num_train=enough - 1)) == []


def test_too_little_to_learn_from_is_said_with_the_number() -> None:
    with pytest.raises(StageError, match=r"^15 normal pictures.*want 100"):
        KIND.trainee("expectation.street", make_corpus(num_train=3), {}, parent=None)


@pytest.mark.parametrize(
    ("subject", "options", "told"),
    [
        ("expectation.elsewhere", {}, "no camera's expectation net"),
        ("street", {}, "no camera's expectation net"),
        ("expectation.street", {"sped": 1}, "sped"),
        ("expectation.street", {"max_samples": 3}, "max_samples"),
    ],
)
def test_what_cannot_be_trained_is_said(subject: str, options: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        KIND.trainee(subject, make_corpus(), options, parent=None)


def test_what_belongs_to_an_alert_is_not_learned() -> None:
    alerts = [make_alert("street", number, "true") for number in range(10)]
    corpus = make_corpus(alerts=alerts)
    with_alerts = KIND.trainee("expectation.street", corpus, {}, parent=None)
    without = KIND.trainee("expectation.street", make_corpus(), {}, parent=None)
    assert (without.num_samples, with_alerts.num_samples) == (255, round(0.85 * 250))


def test_workers_draw_different_batches_and_equally_many_and_a_copy_draws_the_same() -> None:
    trainee = KIND.trainee("expectation.street", make_corpus(), {"seed": 3}, parent=None)
    data = pickle.dumps(trainee)
    assert len(data) < 100_000, "samples are read where they are used"
    copy = pickle.loads(data)
    alone = list(trainee.batches(epoch=2, rank=0, world_size=1))
    two = [list(trainee.batches(epoch=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert (len(alone), len(two[0]), len(two[1])) == (EPOCH_STEPS, EPOCH_STEPS // 2, EPOCH_STEPS // 2)
    assert not torch.equal(two[0][0]["seen"], two[1][0]["seen"])
    for ours, theirs in zip(alone, copy.batches(epoch=2, rank=0, world_size=1), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ("seen", "speeds", "row"))
    assert not torch.equal(alone[0]["seen"], next(iter(trainee.batches(epoch=3, rank=0, world_size=1)))["seen"])


def test_it_learns_to_expect_speed_from_looks(learned: Learned) -> None:
    figures = learned.fitted.figures
    assert figures["validation/error_px"] < 0.5 * figures["validation/error_px_blind"]


def test_a_version_is_plain_numbers_and_the_encoder_runs_with_it(learned: Learned) -> None:
    data = (learned.folder / FILE).read_bytes()
    assert all(isinstance(array, np.ndarray) for array in load(data).values())
    assert set(load((learned.folder / STATE_FILE).read_bytes())) == set(learned.fitted.module.state_dict())
    encoder = ExpectationEncoder(weights=data, version="20261122T020000-abc")
    walker = encoder.encode(make_window(Thing(kind="walker", x=20, speed=SLOW)))
    runner = encoder.encode(make_window(Thing(kind="walker", x=20, speed=FAST)))
    assert walker is not None
    assert runner is not None
    assert runner.vector[0] > 2 * walker.vector[0]
    assert runner.model == "expectation@20261122T020000-abc" == burst_encoder(data, "20261122T020000-abc").model
    net = TrainedNet.load(data)
    assert (net.start_s, net.num_frames) == (START_S, 255)


def test_the_next_night_starts_where_this_one_ended(learned: Learned) -> None:
    trainee = KIND.trainee("expectation.street", make_corpus(), {}, parent=learned.folder)
    start = trainee.module().state_dict()
    assert all(torch.equal(start[name], value) for name, value in learned.fitted.module.state_dict().items())
    fresh = KIND.trainee("expectation.street", make_corpus(), {}, parent=None).module().state_dict()
    assert not torch.equal(start["out.weight"], fresh["out.weight"])


def test_a_state_of_another_net_is_said_and_one_that_is_missing_is_begun_from_scratch(tmp_path: Path) -> None:
    trainee = KIND.trainee("expectation.street", make_corpus(), {}, parent=tmp_path)
    from_scratch = KIND.trainee("expectation.street", make_corpus(), {}, parent=None).module().state_dict()
    assert all(torch.equal(from_scratch[name], value) for name, value in trainee.module().state_dict().items())
    (tmp_path / STATE_FILE).write_bytes(b"\0" * 100)
    with pytest.raises(StageError, match="not one of this net"):
        trainee.module()


def test_footage_gives_what_the_encoder_gives_of_the_same_pictures(learned: Learned) -> None:
    burst = make_burst("street", 7)
    encoder = burst_encoder(learned.folder / FILE)
    assert [end_s for end_s, _ in histories_of(encoder, [burst])] == [glimpse.end_s for glimpse in burst.glimpses]
    for glimpse in burst.glimpses:
        background = Background(encoder.net.background)
        inside = [s for s in burst.motion if glimpse.start_s <= s.at_s < glimpse.end_s]
        samples = tuple(dataclasses.replace(s, background=background.push(s.luma)) for s in inside)
        recorded = dataclasses.replace(burst, glimpses=(glimpse,), motion=samples)
        frames = tuple(as_frame(sample) for sample in samples)
        window = Window(feed_id="street", start_s=glimpse.start_s, end_s=glimpse.end_s, frames=frames)
        live = ExpectationEncoder(weights=encoder.net).encode(window)
        ((end_s, vector),) = histories_of(encoder, [recorded])
        assert live is not None
        assert end_s == live.end_s
        np.testing.assert_allclose(live.vector, vector, rtol=1e-3, atol=1e-3)


def as_frame(sample: MotionSample) -> Frame:
    motion = np.zeros((*sample.speeds.shape, 2), np.float32)
    motion[..., 1] = sample.speeds / np.float32(SPEED_UNIT)
    return Frame(
        feed_id="street", start_s=sample.at_s, end_s=sample.at_s, is_key=False, luma=sample.luma, motion=motion
    )


def test_a_burst_in_which_nothing_moved_says_nothing(learned: Learned) -> None:
    encoder = burst_encoder(learned.folder / FILE)
    still = dataclasses.replace(make_burst("street", 7), motion=())
    assert encoder.encode(still) == [[]] * len(still.glimpses)


def test_a_net_that_has_learned_is_promoted_and_one_of_noise_is_not(learned: Learned, tmp_path: Path) -> None:
    corpus = make_corpus(("street", "other"), num_train=100, num_held_out=60)
    net = TrainedNet.load(learned.folder / FILE)
    noise = np.random.default_rng(0)
    arrays = {name: noise.normal(0.0, array.std() + 0.05, array.shape) for name, array in net.arrays.items()}
    damaged = dataclasses.replace(net, arrays={name: array.astype(np.float32) for name, array in arrays.items()})
    write({FILE: damaged.save()}, tmp_path)

    def comparable(trial: Trial) -> Trial:
        return dataclasses.replace(trial, window_s=1.0, memory_bytes=1)

    before, after, with_noise = (
        comparable(KIND.trial("expectation.street", files, corpus)) for files in (None, learned.folder, tmp_path)
    )
    assert all(event.startswith("street:") for event in before.found)
    assert sum(after.found.values()) > 1.2 * sum(before.found.values())
    assert judge(before, after).promoted, judge(before, after).reason
    refused = judge(after, with_noise)
    assert not refused.promoted
    assert "recall" in {condition.name for condition in refused.conditions if not condition.holds}


def test_the_options_of_the_loop_are_not_mistaken_for_the_nets() -> None:
    trainee = KIND.trainee("expectation.street", make_corpus(), {"epochs": 3, "max_samples": 120}, parent=None)
    assert trainee.num_samples == 102
    assert len(list(itertools.islice(trainee.batches(epoch=0, rank=0, world_size=1), 2))) == 2
