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
import torchvision
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from mmstream.encoders.vision import PretrainedVisionEncoder, TorchvisionEncoder
from mmstream.errors import ConfigError
from mmstream.stages import ReplicaEncoder
from mmstream.types import UInt8

SIDE_PX = 32
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TINY, "image_size": SIDE_PX, "patch_size": 8}
TEXT = {**TINY, "vocab_size": 20, "max_position_embeddings": 8}


def make_clip(folder: Path) -> None:
    torch.manual_seed(1)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX}
    ).save_pretrained(folder)


def make_siglip(folder: Path) -> None:
    torch.manual_seed(2)
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def make_vit(folder: Path) -> None:
    torch.manual_seed(3)
    transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def make_vit_classifier(folder: Path) -> None:
    torch.manual_seed(4)
    transformers.ViTForImageClassification(transformers.ViTConfig(**VISION)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


MAKERS = {"clip": make_clip, "siglip": make_siglip, "vit": make_vit}


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
    pictures = make_pictures(5)
    vectors = encoder.encode(pictures)
    np.testing.assert_allclose(vectors, straight_from_transformers(folder, pictures), atol=2e-5)
    assert isinstance(encoder, ReplicaEncoder)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, encoder.dim)
    assert encoder.wants.shape == (SIDE_PX, SIDE_PX, 3)


def test_a_row_does_not_depend_on_its_neighbours_in_the_batch(folder: Path):
    encoder = PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32")
    pictures = make_pictures(7)
    alone = np.concatenate([encoder.encode(picture[None]) for picture in pictures])
    np.testing.assert_allclose(encoder.encode(pictures), alone, atol=1e-5)
    assert encoder.encode(pictures[:0]).shape == (0, encoder.dim)


def test_bf16_points_the_same_way_as_fp32(folder: Path):
    pictures = make_pictures(4)
    exact = PretrainedVisionEncoder(folder=str(folder), device="cpu", precision="fp32").encode(pictures)
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
        (break_weights, "cannot load the model"),
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


BACKBONES = {"resnet18": 512, "vgg11": 512}


def make_state(architecture: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(5)
    model = torchvision.models.get_model(architecture, weights=None).eval()
    return model, model.state_dict()


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def backbone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, torch.nn.Module, Path]:
    model, state = make_state(request.param)
    path = tmp_path_factory.mktemp(request.param) / "weights.pt"
    torch.save({k: v for k, v in state.items() if not k.startswith("classifier.")}, path)
    return request.param, model, path


def test_backbone_vectors_equal_those_of_calling_torchvision_itself(backbone: tuple[str, torch.nn.Module, Path]):
    architecture, model, path = backbone
    encoder = TorchvisionEncoder(architecture=architecture, weights=str(path), device="cpu", precision="fp32")
    pictures = make_pictures(2, side_px=224)
    values = (torch.tensor(pictures).permute(0, 3, 1, 2) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / (
        torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    )
    trunk = model.features if architecture == "vgg11" else torch.nn.Sequential(*list(model.children())[:-2])
    with torch.inference_mode():
        expected = functional.normalize(trunk(values).mean(dim=(2, 3))).numpy()
    vectors = encoder.encode(pictures)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(vectors[1:], encoder.encode(pictures[1:]), atol=1e-5)
    assert vectors.shape == (2, BACKBONES[architecture]) == (2, encoder.dim)
    assert encoder.model.startswith(f"{architecture}@")


def test_safetensors_and_other_heads_give_the_same_features(tmp_path: Path):
    _, state = make_state("resnet18")
    torch.save(state, tmp_path / "a.pt")
    other_head = {**state, "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    save_file(other_head, tmp_path / "b.safetensors")
    pictures = make_pictures(1, side_px=224)
    a, b = (
        TorchvisionEncoder(architecture="resnet18", weights=str(tmp_path / name), device="cpu")
        for name in ("a.pt", "b.safetensors")
    )
    np.testing.assert_array_equal(a.encode(pictures), b.encode(pictures))
    assert a.model != b.model


def test_weights_that_would_run_code_are_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole-model.pt")
    with pytest.raises(ConfigError, match="is not a state_dict"):
        TorchvisionEncoder(architecture="resnet18", weights=str(tmp_path / "whole-model.pt"), device="cpu")


def test_wrong_weights_and_names_are_plain_sentences(tmp_path: Path):
    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match="does not hold the weights of a resnet18"):
        TorchvisionEncoder(architecture="resnet18", weights=str(path), device="cpu")
    with pytest.raises(ConfigError, match=r"cannot read the weights file .*missing.pt"):
        TorchvisionEncoder(architecture="resnet18", weights=str(tmp_path / "missing.pt"), device="cpu")
    with pytest.raises(ConfigError, match=r"choose one of .*resnet50"):
        TorchvisionEncoder(architecture="resnet19", weights=str(path), device="cpu")
    with pytest.raises(ConfigError, match="choose a ResNet or VGG"):
        TorchvisionEncoder(architecture="vit_b_16", weights=str(path), device="cpu")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="is not a state_dict"):
        TorchvisionEncoder(architecture="resnet18", weights=str(tmp_path / "bad.safetensors"), device="cpu")
