"""Adapters are learned from unlabelled bursts, kept as two small files, and added to the encoder that uses them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy import stats

from mmstream.encoders.low_rank import SETTINGS, WEIGHTS
from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.errors import ConfigError, StageError
from mmstream.training.adapter import SUBJECT, VALIDATION_SHARE, AdapterKind, AdapterTrainee, retrieved
from mmstream.training.corpus import Corpus
from mmstream.training.footage import Burst, Glimpse
from mmstream.types import UInt8
from tests.encoders.tiny import make_clip, make_convnext, make_dinov2, make_siglip, make_vit

SIDE_PX = 40
NUM_BURSTS = 200


def scenes(num: int, seed: int = 0) -> UInt8:
    """(num, 2, H, W, 3): each scene twice, four patches of colour, a little moved and lit otherwise."""
    random = np.random.default_rng(seed)
    pictures = np.empty((num, 2, SIDE_PX, SIDE_PX, 3), np.uint8)
    for scene in pictures:
        patches = np.kron(random.normal(0, 60, (2, 2, 3)), np.ones((SIDE_PX // 2, SIDE_PX // 2, 1)))
        for place in (0, 1):
            moved = np.roll(patches, random.integers(-1, 2, 2), (0, 1))
            light = random.normal(0, 30) + random.normal(0, 20, 3)
            scene[place] = np.clip(128 + moved + light, 0, 255)
    return pictures


def make_seeing(folder: Path) -> None:
    """A model with random weights that are large enough for it to see something."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE_PX,
        patch_size=8,
        initializer_range=0.2,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def trained(trainee: AdapterTrainee, *, epochs: int) -> Any:
    module = trainee.module()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=2e-3)
    for epoch in range(epochs):
        for batch in trainee.batches(epoch=epoch, rank=0, world_size=1):
            optimizer.zero_grad()
            trainee.step(module, batch).loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return module.eval()


def write(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "clip"
    make_clip(folder)
    return folder


def test_it_tells_scenes_better_apart_than_the_frozen_model(tmp_path: Path) -> None:
    make_seeing(tmp_path / "model")
    num = 600
    trainee = AdapterTrainee(scenes(num), {"folder": str(tmp_path / "model")}, keep=0.0, dropout=0.0)
    before = trainee.validate(trainee.module().eval())
    after = trainee.validate(trained(trainee, epochs=12))
    aside = num // VALIDATION_SHARE
    assert stats.binomtest(round(after["retrieved"] * aside), aside).proportion_ci(0.999).low > before["retrieved"]
    assert after["loss"] < before["loss"]
    assert before["moved"] == pytest.approx(0.0, abs=1e-6)
    assert after["moved"] > 0.01


def test_a_strong_pull_keeps_it_near_the_frozen_model(tmp_path: Path) -> None:
    make_seeing(tmp_path / "model")
    moved = [
        trainee.validate(trained(trainee, epochs=2))["moved"]
        for trainee in (AdapterTrainee(scenes(150), {"folder": str(tmp_path / "model")}, keep=k) for k in (0.0, 10.0))
    ]
    assert moved[1] < 0.5 * moved[0]


def test_only_the_adapter_learns_and_what_the_frozen_model_says_stays(clip: Path) -> None:
    trainee = AdapterTrainee(scenes(60), {"folder": str(clip)})
    module = trained(trainee, epochs=1)
    learned = {name for name, p in module.named_parameters() if p.requires_grad}
    assert learned
    assert all("lora_" in name and "text_model" not in name for name in learned)
    encoder = PretrainedVisionEncoder(folder=str(clip), precision="fp32")
    side_px = encoder.wants.width_px
    pictures = np.random.default_rng(1).integers(0, 256, (3, side_px, side_px, 3), np.uint8)
    with torch.inference_mode():
        frozen = module(torch.from_numpy(pictures), frozen=True).numpy()
    np.testing.assert_allclose(frozen, encoder.encode(pictures), atol=2e-5)


@pytest.mark.parametrize("make", [make_clip, make_siglip, make_vit, make_dinov2])
def test_the_encoder_that_loads_it_says_what_the_trained_one_said(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "model")
    trainee = AdapterTrainee(scenes(30), {"folder": str(tmp_path / "model")}, dropout=0.0)
    module = trained(trainee, epochs=1)
    files = dict(trainee.export(module))
    assert sorted(files) == [SETTINGS, WEIGHTS]
    assert json.loads(files[SETTINGS])["base_model_name_or_path"] in ("", None)
    adapter = write(files, tmp_path / "adapter")
    plain = PretrainedVisionEncoder(folder=str(tmp_path / "model"), precision="fp32", words=False)
    adapted = PretrainedVisionEncoder(
        folder=str(tmp_path / "model"), precision="fp32", words=False, adapter=str(adapter)
    )
    assert adapted.model.startswith(f"{plain.model}+")
    named = PretrainedVisionEncoder(folder=str(tmp_path / "model"), words=False, adapter=str(adapter), version="7-ab")
    assert named.model == f"{plain.model}+7-ab", "alerts name the version of the registry"
    side_px = plain.wants.width_px
    pictures = np.random.default_rng(1).integers(0, 256, (4, side_px, side_px, 3), np.uint8)
    with torch.inference_mode():
        said = module(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(adapted.encode(pictures), said, atol=2e-4)
    assert np.abs(adapted.encode(pictures) - plain.encode(pictures)).max() > 1e-3


def test_the_next_night_goes_on_from_the_version_in_use(clip: Path, tmp_path: Path) -> None:
    first = AdapterTrainee(scenes(60), {"folder": str(clip)})
    module = trained(first, epochs=1)
    parent = write(dict(first.export(module)), tmp_path / "adapter")
    again = AdapterTrainee(scenes(60), {"folder": str(clip)}, parent=parent)
    assert again.validate(again.module().eval()) == pytest.approx(first.validate(module), abs=1e-5)


def test_workers_share_an_epoch_and_draw_alike_again(clip: Path) -> None:
    trainee = AdapterTrainee(scenes(50), {"folder": str(clip)}, batch=8)
    shares = [list(trainee.batches(epoch=3, rank=rank, world_size=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 3
    again = list(trainee.batches(epoch=3, rank=1, world_size=2))
    assert all(torch.equal(one["first"], other["first"]) for one, other in zip(shares[1], again, strict=True))


def corpus(clip: Path, num_bursts: int = NUM_BURSTS, **encoder: Any) -> Corpus:
    def read(feed_id: str, from_s: float, to_s: float) -> Any:
        for number, pair in enumerate(scenes(num_bursts)):
            start_s = 60.0 * number
            if from_s <= start_s < to_s:
                glimpses = tuple(
                    Glimpse(start_s=start_s + place, end_s=start_s + place + 2, picture=picture)
                    for place, picture in enumerate(pair)
                )
                yield Burst(feed_id=feed_id, glimpses=glimpses)

    return Corpus(
        feeds=("gate",),
        from_s=0.0,
        split_s=40.0 * num_bursts,
        to_s=60.0 * num_bursts,
        read_bursts=read,
        encoders={"vision": {"folder": str(clip), **encoder}},
    )


def test_a_site_without_the_encoder_or_with_too_little_footage_trains_none(clip: Path) -> None:
    kind = AdapterKind()
    assert kind.subjects(corpus(clip)) == (SUBJECT,)
    little = corpus(clip, 60)
    assert kind.subjects(little) == ()
    with pytest.raises(StageError, match="40 bursts with pictures are too few"):
        kind.trainee(SUBJECT, little, {}, parent=None)
    with pytest.raises(ConfigError, match="runs no encoder 'clap'"):
        kind.trainee("adapter.clap", little, {}, parent=None)
    with pytest.raises(ConfigError, match=r"training.options.adapter.*rnak"):
        kind.trainee(SUBJECT, corpus(clip), {"rnak": 4}, parent=None)


def test_a_model_without_attention_and_a_damaged_adapter_are_refused_in_words(clip: Path, tmp_path: Path) -> None:
    make_convnext(tmp_path / "convnext")
    with pytest.raises(ConfigError, match="no attention"):
        AdapterTrainee(scenes(10), {"folder": str(tmp_path / "convnext")}).module()
    with pytest.raises(ConfigError, match=r"adapter_config.json is missing"):
        PretrainedVisionEncoder(folder=str(clip), adapter=str(tmp_path))
    trainee = AdapterTrainee(scenes(10), {"folder": str(clip)})
    files = dict(trainee.export(trainee.module()))
    cut = write(files | {WEIGHTS: files[WEIGHTS][:-9]}, tmp_path / "cut")
    with pytest.raises(ConfigError, match="cannot load the adapter"):
        PretrainedVisionEncoder(folder=str(clip), adapter=str(cut))
    make_vit(tmp_path / "vit")
    whole = write(files, tmp_path / "whole")
    with pytest.raises(ConfigError, match="does not fit this model"):
        PretrainedVisionEncoder(folder=str(tmp_path / "vit"), adapter=str(whole))


def test_both_sides_of_a_trial_meet_the_same_events(clip: Path, tmp_path: Path) -> None:
    days = corpus(clip)
    kind = AdapterKind()
    trainee = kind.trainee(SUBJECT, days, {"batch": 16}, parent=None)
    adapter = write(dict(trainee.export(trainee.module())), tmp_path / "adapter")
    before, after = (kind.trial(SUBJECT, files, days) for files in (None, adapter))
    assert before.found.keys() == after.found.keys()
    assert len(before.found) >= 100
    assert before.found == after.found  # an adapter that has learned nothing changes nothing
    assert before.memory_bytes == after.memory_bytes > 0


def test_retrieval_counts_rows_whose_nearest_is_their_own() -> None:
    vectors = torch.nn.functional.normalize(torch.eye(4)[:, None].repeat(1, 2, 1), dim=-1)
    assert retrieved(vectors) == 1.0
    vectors[0, 0] = vectors[1, 1]
    assert retrieved(vectors) == 0.75
