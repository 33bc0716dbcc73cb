"""ResNets and VGGs of torchvision as encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.nn import functional

from mmstream.encoders.backbones import TorchvisionEncoder
from mmstream.errors import ConfigError
from mmstream.types import UInt8


def make_pictures(num: int, side_px: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (num, side_px, side_px, 3), dtype=np.uint8)


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
