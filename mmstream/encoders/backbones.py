"""Image networks of torchvision as encoders: ResNets and VGGs without their classifiers, weights from a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmstream.encoders.filterbank import Device
from mmstream.encoders.intact import digest
from mmstream.encoders.pretrained import first_words, loading_error, to_device
from mmstream.encoders.slimming import Precision, Slimming
from mmstream.encoders.torch_encoder import TorchEncoder
from mmstream.encoders.vision import Scaler
from mmstream.errors import ConfigError
from mmstream.types import Channel, PictureSpec, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class TorchvisionEncoder(TorchEncoder):
    """A torchvision ResNet (also ResNeXt, Wide ResNet) or VGG without its classifier.

    ``architecture`` is torchvision's name (``resnet50``), ``weights`` a state_dict as ``.pt``/``.pth`` or
    ``.safetensors``; neither can run code. Features are the last feature map's mean per channel.

    Raises:
        ConfigError: unknown architecture, no such file, or weights of another architecture.
    """

    channel: ClassVar[Channel] = Channel(
        name="torchvision", modality="picture", normality="bank", density=True, aspect="content"
    )
    wants: PictureSpec

    def __init__(
        self,
        *,
        architecture: str,
        weights: str,
        device: Device = "auto",
        precision: Precision = "auto",
        compile: bool = False,
        rate_hz: float = 1.0,
    ) -> None:
        slimming = Slimming(precision=precision, compile=compile)
        model, head = _headless(architecture)
        path = Path(weights).expanduser()
        state = _read_state_dict(path)
        super().__init__(
            wants=PictureSpec(width_px=224, height_px=224, colour=True, rate_hz=rate_hz),
            model=f"{architecture}@{digest([path])}",
            device=device,
            slimming=slimming,
        )
        self._scaler = Scaler(mean=IMAGENET_MEAN, std=IMAGENET_STD, factor=1 / 255).to(self._device)
        try:
            model.load_state_dict(
                {key: value for key, value in state.items() if not key.startswith(head)}, strict=True, assign=True
            )
        except RuntimeError as error:
            raise ConfigError(f"{path} does not hold the weights of a {architecture}: {first_words(error)}") from error
        self._model = to_device(model.eval().to(self._dtype), self._device, path)
        slimming.apply(self._model, name=architecture)
        self._warm_up()

    def _features(self, inputs: UInt8) -> torch.Tensor:
        features = self._model(self._scaler(torch.tensor(inputs, device=self._device)).to(self._dtype))
        assert isinstance(features, torch.Tensor)
        return features


def _headless(architecture: str) -> tuple[torch.nn.Module, str]:
    """-> (the network without values and without classifier, prefix of the classifier's weights)."""
    from torchvision import models

    if not architecture.startswith(("resnet", "resnext", "wide_resnet", "vgg")):
        raise ConfigError(f"there is no architecture {architecture!r} here; choose a ResNet or VGG, such as resnet50")
    try:
        with torch.device("meta"):
            model: torch.nn.Module = models.get_model(architecture, weights=None)
    except ValueError as error:
        known = ", ".join(models.list_models(include=["resnet*", "resnext*", "wide_resnet*", "vgg*"], module=models))
        raise ConfigError(f"torchvision has no architecture {architecture!r}; choose one of {known}") from error
    if architecture.startswith("vgg"):
        model.avgpool, model.classifier = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Identity()
        return model, "classifier."
    model.fc = torch.nn.Identity()
    return model, "fc."


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"cannot read the weights file {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise loading_error(path, error) from error
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(f"{path} is not a state_dict: {first_words(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"{path} is not a state_dict; save model.state_dict() with torch.save")
    return state
