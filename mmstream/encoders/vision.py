"""Pretrained image models as encoders: anything that transformers can load, and torchvision's ResNets and VGGs.

Pictures arrive at the model's own input size, the whole view squeezed into it (a camera's border matters as much as
its middle, so nothing is cropped). What is left of the image processor is arithmetic, done on the batch in torch.
Vectors have length 1: distances between them are cosine distances, which is what CLIP and SigLIP were trained on.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional

from mmstream.encoders.batching import blank, check_inputs
from mmstream.encoders.filterbank import Device, Precision, pick_device, pick_dtype
from mmstream.errors import ConfigError
from mmstream.types import Channel, Float32, PictureSpec, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_WEIGHT_FILES = ("*.safetensors", "*.bin")
_LARGEST_SIDE_PX = 1024


class _TorchEncoder:
    """What both kinds share: uint8 pictures to the model's numbers, and features to unit vectors."""

    wants: PictureSpec
    model: str
    dim: int

    def __init__(self, *, device: Device, precision: Precision, wants: PictureSpec, model: str) -> None:
        self._device = pick_device(device)
        self._dtype = pick_dtype(precision, self._device)
        self.wants, self.model = wants, model

    def _prepare(self, *, mean: tuple[float, ...], std: tuple[float, ...], factor: float) -> None:
        """From now on a byte b of colour c becomes ``(b * factor - mean[c]) / std[c]``."""
        scale = torch.tensor([factor / deviation for deviation in std])
        shift = torch.tensor([-centre / deviation for centre, deviation in zip(mean, std, strict=True)])
        self._scale, self._shift = (each.view(1, 3, 1, 1).to(self._device) for each in (scale, shift))

    def _warm_up(self) -> None:
        """One picture through the model: finds `dim`, and whatever does not fit together."""
        try:
            self.dim = self.encode(blank(self.wants)).shape[1]
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.model} cannot take pictures of {self.wants.width_px}x{self.wants.height_px} px: {error}"
            ) from error

    def encode(self, pictures: UInt8) -> Float32:
        check_inputs(pictures, self.wants)
        if not len(pictures):
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            colours_first = torch.tensor(pictures, device=self._device).permute(0, 3, 1, 2)
            values = (colours_first.float() * self._scale + self._shift).to(self._dtype)
            features = self._features(values).float().flatten(1)
            return np.asarray(functional.normalize(features).cpu().numpy(), np.float32)

    def _features(self, values: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class PretrainedVisionEncoder(_TorchEncoder):
    """The image half of a transformers model: CLIP, SigLIP, SigLIP2 (fixed size), ViT, DINOv2, ConvNeXt and the like.

    ``folder`` is what `save_pretrained` wrote, or a Hub id such as ``google/siglip2-base-patch16-224``, downloaded
    once. Code that comes with a model is never run. The features are those of `get_image_features` where the model has
    words too, else the pooled output, else the class token (a ViT saved as a classifier has no trained pooler).

    Raises:
        ConfigError: nothing there, not an image model, weights missing, or a size the model cannot take.
    """

    channel: ClassVar[Channel] = Channel(name="vision", modality="picture", normality="bank", density=True)

    def __init__(
        self, *, folder: str, device: Device = "auto", precision: Precision = "auto", rate_hz: float = 1.0
    ) -> None:
        place = _local_folder(folder)
        model_type = _config(place).get("model_type", "model")
        settings = _processor_settings(place)
        width_px, height_px = _input_size_px(settings, place)
        super().__init__(
            device=device,
            precision=precision,
            wants=PictureSpec(width_px=width_px, height_px=height_px, colour=True, rate_hz=rate_hz),
            model=f"{model_type}@{_content_hash(place)}",
        )
        normalises, rescales = settings.get("do_normalize", True), settings.get("do_rescale", True)
        self._prepare(
            mean=tuple(settings["image_mean"]) if normalises else (0.0, 0.0, 0.0),
            std=tuple(settings["image_std"]) if normalises else (1.0, 1.0, 1.0),
            factor=float(settings.get("rescale_factor", 1 / 255)) if rescales else 1.0,
        )
        self._model, self._pooled = _load_image_half(place, self._dtype)
        self._model.eval().to(self._device)
        self._warm_up()

    def _features(self, values: torch.Tensor) -> torch.Tensor:
        speaks = hasattr(self._model, "get_image_features")
        answer = self._model.get_image_features(pixel_values=values) if speaks else self._model(pixel_values=values)
        if isinstance(answer, torch.Tensor):  # transformers before 5 gave the features themselves
            return answer
        pooled = getattr(answer, "pooler_output", None)
        features = pooled if self._pooled and pooled is not None else answer.last_hidden_state[:, 0]
        assert isinstance(features, torch.Tensor)
        return features


class TorchvisionEncoder(_TorchEncoder):
    """A torchvision ResNet (also ResNeXt, Wide ResNet) or VGG without its classifier, weights from a file.

    ``architecture`` is torchvision's name (``resnet50``), ``weights`` a state_dict as ``.pt``/``.pth`` or
    ``.safetensors``; neither can run code. Features are the last feature map's mean per channel.

    Raises:
        ConfigError: unknown architecture, no such file, or weights of another architecture.
    """

    channel: ClassVar[Channel] = Channel(name="torchvision", modality="picture", normality="bank", density=True)

    def __init__(
        self, *, architecture: str, weights: str, device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        model, head = _headless(architecture)
        path = Path(weights)
        state = _read_state_dict(path)
        super().__init__(
            device=device,
            precision=precision,
            wants=PictureSpec(width_px=224, height_px=224, colour=True, rate_hz=1.0),
            model=f"{architecture}@{_digest([path])}",
        )
        self._prepare(mean=IMAGENET_MEAN, std=IMAGENET_STD, factor=1 / 255)
        try:
            model.load_state_dict(
                {key: value for key, value in state.items() if not key.startswith(head)}, strict=True, assign=True
            )
        except RuntimeError as error:
            raise ConfigError(f"{path} does not hold the weights of a {architecture}: {_first_lines(error)}") from error
        self._model = model.eval().to(self._device, self._dtype)
        self._warm_up()

    def _features(self, values: torch.Tensor) -> torch.Tensor:
        features = self._model(values)
        assert isinstance(features, torch.Tensor)
        return features


def _local_folder(folder: str) -> Path:
    place = Path(folder).expanduser()
    if place.is_dir():
        return place
    if folder.count("/") != 1 or folder.startswith(("/", ".", "~")):
        raise ConfigError(f"there is no folder {folder}; give one that save_pretrained wrote, or a Hub id 'owner/name'")
    import huggingface_hub

    try:
        wanted = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
        return Path(huggingface_hub.snapshot_download(folder, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot fetch {folder} from the Hub; download it and give the folder: {error}") from error


def _config(place: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place} holds no readable config.json; give a folder that save_pretrained wrote") from error
    return dict(config)


def _processor_settings(place: Path) -> dict[str, Any]:
    """The folder's image processor as plain values, with the defaults of its class filled in."""
    from transformers import AutoImageProcessor

    loader: Any = AutoImageProcessor
    try:
        settings = dict(loader.from_pretrained(place).to_dict())
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{place} holds no usable image processor: {_first_lines(error)}") from error
    if settings.get("patch_size") is not None and settings.get("size") is None:
        raise ConfigError(f"{place} takes pictures of changing size (NaFlex); choose a fixed-size variant of the model")
    return settings


def _input_size_px(settings: Mapping[str, Any], place: Path) -> tuple[int, int]:
    """(width, height) that the model is fed with: after the crop where there is one."""
    size = dict((settings.get("crop_size") if settings.get("do_center_crop") else None) or settings.get("size") or {})
    side = size.get("shortest_edge")
    width_px, height_px = int(size.get("width") or side or 0), int(size.get("height") or side or 0)
    if not 0 < min(width_px, height_px) <= max(width_px, height_px) <= _LARGEST_SIDE_PX:
        raise ConfigError(f"{place}: its image processor names no size that can be used, got {size}")
    return width_px, height_px


def _load_image_half(place: Path, dtype: torch.dtype) -> tuple[Any, bool]:
    """-> (the model, whether its pooler holds trained weights)."""
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(place, dtype=dtype, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"cannot load the model in {place}: {_first_lines(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(("text_model", "text_projection")))
    untrained = [key for key in missing if "pooler" not in key]
    if untrained:
        raise ConfigError(f"{place} lacks {len(untrained)} weights, such as {untrained[0]}; copy the folder again")
    for part in ("text_model", "text_projection"):  # only pictures come here
        if hasattr(model, part):
            delattr(model, part)
    return model, not missing


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
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(f"{path} is not a state_dict: {_first_lines(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"{path} is not a state_dict; save model.state_dict() with torch.save")
    return state


def _content_hash(place: Path) -> str:
    weights = next((found for pattern in _WEIGHT_FILES if (found := sorted(place.glob(pattern)))), [])
    return _digest([place / "config.json", place / "preprocessor_config.json", *weights])


def _digest(paths: list[Path]) -> str:
    """Ten hex digits of all the bytes: fine-tuning may change only layers in the middle of a file."""
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:10]


def _first_lines(error: BaseException) -> str:
    """Loading errors of torch and transformers run over pages; the first words say what is wrong."""
    return " ".join(str(error).split())[:300]
