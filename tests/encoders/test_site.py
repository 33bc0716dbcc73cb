"""The site's networks as encoders: they stand by until trained, and load what a training wrote, or say why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmstream.encoders.batching import build_replica
from mmstream.encoders.footage_mel import footage_mel
from mmstream.encoders.site import SitePictureEncoder, SiteSoundEncoder
from mmstream.encoders.site_net import about, told_by
from mmstream.errors import ConfigError
from tests.encoders.tiny import make_inputs, replica_options


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return Path(replica_options("site", tmp_path)["weights"])


@pytest.mark.parametrize("name", ["site", "site-sound"])
def test_before_anything_is_trained_it_says_what_to_do(name: str) -> None:
    with pytest.raises(ConfigError, match="not trained yet: mmstream train"):
        build_replica(name, {}, "cpu")


def test_sound_and_its_log_mel_from_the_footage_give_the_same_vector(weights: Path) -> None:
    encoder = SiteSoundEncoder(weights=str(weights), device="cpu")
    sounds = make_inputs(encoder.wants, 3)
    mels = np.stack([footage_mel(sound) for sound in sounds])
    np.testing.assert_allclose(encoder.encode_mels(mels), encoder.encode(sounds), atol=1e-6)
    with pytest.raises(ValueError, match="want log-mel"):
        encoder.encode_mels(mels[:, :, :90])


@pytest.mark.parametrize("encoder_class", [SitePictureEncoder, SiteSoundEncoder])
def test_a_large_batch_says_what_single_ones_say_in_vectors_of_length_one(weights: Path, encoder_class: Any) -> None:
    encoder = encoder_class(weights=str(weights), device="cpu")
    inputs = make_inputs(encoder.wants, 19)
    vectors = encoder.encode(inputs)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors[17], encoder.encode(inputs[17:18])[0], atol=1e-5)


def test_the_version_names_the_model_and_else_the_weights_do(weights: Path, tmp_path: Path) -> None:
    named = SitePictureEncoder(weights=str(weights), version="20261122T023000-0a1b2c3d", device="cpu")
    assert named.model == "site@20261122T023000-0a1b2c3d"
    assert SiteSoundEncoder(weights=str(weights), device="cpu").model == (
        SitePictureEncoder(weights=str(weights), device="cpu").model
    )
    state = load_file(weights)
    state["picture.out.bias"] += 1
    save_file(state, tmp_path / "other.safetensors", told_by(weights.read_bytes()))
    other = SitePictureEncoder(weights=str(tmp_path / "other.safetensors"), device="cpu")
    assert other.model != SitePictureEncoder(weights=str(weights), device="cpu").model


def test_what_is_not_its_weights_is_refused_in_words(weights: Path, tmp_path: Path) -> None:
    state = load_file(weights)
    hearing = {name: value for name, value in state.items() if name.startswith("sound.")}
    save_file(hearing, tmp_path / "deaf.safetensors", about(parts=("sound",)))
    save_file({"picture.out.bias": torch.zeros(3)}, tmp_path / "short.safetensors", about(parts=("picture",)))
    save_file(state, tmp_path / "old.safetensors", {**about(parts=("picture",)), "format": "site@0"})
    save_file(state, tmp_path / "bare.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    for name, told in {
        "deaf": "holds no picture network",
        "short": "does not hold the weights of site@1",
        "old": "holds weights of site@0, want site@1",
        "bare": "holds weights of something else",
        "cut": "is damaged or no safetensors file",
        "absent": "cannot read the weights file",
    }.items():
        with pytest.raises(ConfigError, match=told):
            SitePictureEncoder(weights=str(tmp_path / f"{name}.safetensors"), device="cpu")
