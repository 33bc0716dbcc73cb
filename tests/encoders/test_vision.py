"""Tiny models of the real architectures, saved as the real libraries save them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.errors import ConfigError
from mmstream.stages import ReplicaEncoder
from mmstream.types import UInt8
from tests.encoders.tiny import (
    SIDE_PX,
    make_clip,
    make_convnext,
    make_dinov2,
    make_inputs,
    make_siglip,
    make_siglip2,
    make_vit,
    make_vit_classifier,
)

MAKERS: dict[str, Callable[[Path], None]] = {
    "clip": make_clip,
    "siglip": make_siglip,
    "siglip2": make_siglip2,
    "vit": make_vit,
    "dinov2": make_dinov2,
    "convnext": make_convnext,
}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](place)
    return place


def make_pictures(num: int, side_px: int = SIDE_PX, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (num, side_px, side_px, 3), dtype=np.uint8)


def straight_from_transformers(folder: Path, pictures: UInt8) -> NDArray[Any]:
    inputs = transformers.AutoImageProcessor.from_pretrained(folder)(images=list(pictures), return_tensors="pt")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        call = getattr(model, "get_image_features", model)
        return functional.normalize(call(**inputs).pooler_output).numpy()


def test_vectors_equal_those_of_calling_transformers_itself(folder: Path):
    encoder = PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32")
    pictures = make_inputs(encoder.wants, 5)
    vectors = encoder.encode(pictures)
    np.testing.assert_allclose(vectors, straight_from_transformers(folder, pictures), atol=2e-5)
    assert isinstance(encoder, ReplicaEncoder)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, encoder.dim)
    assert encoder.wants.shape == ((384, 384, 3) if folder.name.startswith("convnext") else (SIDE_PX, SIDE_PX, 3))


def test_a_row_does_not_depend_on_its_neighbours_in_the_batch(folder: Path):
    encoder = PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32")
    pictures = make_inputs(encoder.wants, 3)
    alone = np.concatenate([encoder.encode(picture[None]) for picture in pictures])
    np.testing.assert_allclose(encoder.encode(pictures), alone, atol=1e-5)
    assert encoder.encode(pictures[:0]).shape == (0, encoder.dim)


def test_bf16_points_the_same_way_as_fp32(folder: Path):
    encoder = PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32")
    pictures = make_inputs(encoder.wants, 4)
    exact = encoder.encode(pictures)
    rough = PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="bf16").encode(pictures)
    assert (exact * rough).sum(axis=1).min() > 0.99


def test_the_processor_settings_of_the_folder_are_honoured(tmp_path: Path):
    make_vit(tmp_path)
    plain = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    transformers.ViTImageProcessor(
        size={"height": SIDE_PX, "width": SIDE_PX},
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.9, 0.8, 0.7],
        rescale_factor=1 / 128,
    ).save_pretrained(tmp_path)
    changed = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32")
    pictures = make_pictures(3)
    np.testing.assert_allclose(changed.encode(pictures), straight_from_transformers(tmp_path, pictures), atol=2e-5)
    assert np.abs(changed.encode(pictures) - plain.encode(pictures)).max() > 1e-3
    assert changed.model != plain.model


def test_a_vit_saved_as_a_classifier_uses_its_class_token_and_no_random_pooler(tmp_path: Path):
    make_vit_classifier(tmp_path)
    pictures = make_pictures(3)
    first = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32").encode(pictures)
    again = PretrainedVisionEncoder(folder=str(tmp_path), device="cpu", precision="fp32").encode(pictures)
    np.testing.assert_array_equal(first, again)
    inputs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(images=list(pictures), return_tensors="pt")
    model = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        expected = functional.normalize(model.vit(**inputs).last_hidden_state[:, 0]).numpy()
    np.testing.assert_allclose(first, expected, atol=2e-5)


def test_the_model_name_follows_the_content_and_not_the_place(tmp_path: Path):
    make_clip(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    name = PretrainedVisionEncoder(folder=str(tmp_path / "a"), device="cpu").model
    assert name.startswith("clip@")
    assert PretrainedVisionEncoder(folder=str(tmp_path / "b"), device="cpu").model == name
    weights = tmp_path / "b" / "model.safetensors"
    state = transformers.CLIPModel.from_pretrained(tmp_path / "b")
    with torch.no_grad():
        state.vision_model.encoder.layers[0].mlp.fc1.weight[0, 0] += 0.5
    size_before = weights.stat().st_size
    state.save_pretrained(tmp_path / "b")
    assert weights.stat().st_size == size_before
    assert PretrainedVisionEncoder(folder=str(tmp_path / "b"), device="cpu").model != name


def test_a_hub_id_is_fetched_once_and_then_loaded_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_vit(tmp_path)
    asked: list[str] = []

    def fetch(name: str, **_: Any) -> str:
        asked.append(name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    encoder = PretrainedVisionEncoder(folder="someone/tiny-vit", device="cpu")
    assert asked == ["someone/tiny-vit"]
    assert encoder.dim == 16


def test_a_hub_that_cannot_be_reached_is_a_plain_sentence(monkeypatch: pytest.MonkeyPatch):
    def fetch(*_: Any, **__: Any) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(ConfigError, match="cannot fetch someone/tiny-vit from the Hub"):
        PretrainedVisionEncoder(folder="someone/tiny-vit", device="cpu")


def break_nothing_there(place: Path) -> None:
    shutil.rmtree(place)


def break_config(place: Path) -> None:
    (place / "config.json").write_text("{", encoding="utf-8")


def break_processor(place: Path) -> None:
    (place / "preprocessor_config.json").unlink()


def break_weights(place: Path) -> None:
    (place / "model.safetensors").write_bytes(b"not weights")


def break_size(place: Path) -> None:
    settings = json.loads((place / "preprocessor_config.json").read_text())
    settings["size"] = {"height": SIDE_PX + 1, "width": SIDE_PX}
    (place / "preprocessor_config.json").write_text(json.dumps(settings))


def break_by_taking_a_layer_out(place: Path) -> None:
    state = load_file(place / "model.safetensors")
    kept = {key: value for key, value in state.items() if ".layer.0." not in key}
    assert len(kept) < len(state)
    save_file(kept, place / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("breaking", "sentence"),
    [
        (break_nothing_there, "there is no folder"),
        (break_config, "no readable config.json"),
        (break_processor, "no usable image processor"),
        (break_weights, "model.safetensors is cut off or no safetensors file"),
        (break_size, "cannot take pictures of 32x33 px"),
        (break_by_taking_a_layer_out, r"lacks \d+ weights"),
    ],
)
def test_a_broken_folder_is_a_plain_sentence(tmp_path: Path, breaking: Callable[[Path], None], sentence: str):
    place = tmp_path / "vit"
    make_vit(place)
    breaking(place)
    with pytest.raises(ConfigError, match=sentence):
        PretrainedVisionEncoder(folder=str(place), device="cpu")
