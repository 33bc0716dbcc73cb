"""Pretrained models of pictures that transformers can load: CLIP, SigLIP, SigLIP 2, ViT, DINOv2, ConvNeXt and the like.

Pictures arrive at the model's own input size, the whole view squeezed into it (a camera's border matters as much as
its middle, so nothing is cropped). What is left of the image processor is arithmetic, done on the batch in torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from mmstream.encoders.filterbank import Device
from mmstream.encoders.hub import local_folder
from mmstream.encoders.low_rank import adapter_hash, with_adapter
from mmstream.encoders.pretrained import (
    check_takes,
    content_hash,
    first_words,
    load_model,
    pooled,
    read_config,
    to_device,
)
from mmstream.encoders.slimming import Precision, Slimming
from mmstream.encoders.torch_encoder import TorchEncoder
from mmstream.encoders.word_half import WordHalf, Words, keeps_words, without_words
from mmstream.errors import ConfigError
from mmstream.types import Channel, Float32, PictureSpec, UInt8

EXAMPLES = "a model of pictures, such as a CLIP, SigLIP or ViT"
_LARGEST_SIDE_PX = 1024


class Scaler(torch.nn.Module):
    """A byte b of colour c becomes ``(b * factor - mean[c]) / std[c]``, colours first."""

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], factor: float) -> None:
        super().__init__()
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        scale = torch.tensor([factor / deviation for deviation in std])
        shift = torch.tensor([-centre / deviation for centre, deviation in zip(mean, std, strict=True)])
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Bytes or floats 0..255 (N, H, W, 3) -> float32 (N, 3, H, W)."""
        return pictures.permute(0, 3, 1, 2).float() * self.scale + self.shift


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """How a model of pictures is asked."""

    wants: PictureSpec
    scaler: Scaler
    patch_px: int
    """Of a model that is given patches; 0: it is given pictures."""
    has_pooler: bool

    def features(self, model: Any, pictures: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Bytes or floats 0..255 of the size that is wanted (N, H, W, 3) -> (N, ...) of any length."""
        values = self.scaler(pictures).to(dtype)
        given = _patches(values, self.patch_px) if self.patch_px else {"pixel_values": values}
        if hasattr(model, "get_image_features"):
            return pooled(model.get_image_features(**given))
        answer = model(**given)
        vector = getattr(answer, "pooler_output", None)
        features = vector if self.has_pooler and vector is not None else answer.last_hidden_state[:, 0]
        assert isinstance(features, torch.Tensor)
        return features


class PretrainedVisionEncoder(TorchEncoder):
    """The half of a model that sees, from a folder that `save_pretrained` wrote or a Hub id.

    The features are those of `get_image_features` where the model has words too, else the pooled output, else the
    class token (a ViT saved as a classifier has no trained pooler). ``encode_words`` is there only where ``words`` says
    so and the model and the folder have them: then, and only then, this is a `stages.KnowsWords`. ``adapter``: a folder
    that `training.adapter` wrote, added to the weights; empty: none. ``version``: what the registry calls the adapter,
    so that alerts name it; empty: it is named by what is in it. Options: `Slimming`.

    Raises:
        ConfigError: nothing there, not a model of pictures, files missing or damaged, or a size it cannot take.
    """

    channel: ClassVar[Channel] = Channel(
        name="vision", modality="picture", normality="bank", density=True, aspect="content"
    )
    encode_words: Callable[[Sequence[str]], Float32]
    wants: PictureSpec

    def __init__(
        self,
        *,
        folder: str,
        device: Device = "auto",
        precision: Precision = "auto",
        keep_layers: int = 0,
        compile: bool = False,
        words: Words = "auto",
        rate_hz: float = 1.0,
        adapter: str = "",
        version: str = "",
    ) -> None:
        slimming = Slimming(precision=precision, keep_layers=keep_layers, compile=compile)
        place = local_folder(folder)
        name = str(read_config(place).get("model_type", "model"))
        check_takes(place, "image", examples=EXAMPLES)
        settings = _processor_settings(place)
        width_px, height_px = _input_size_px(settings, place)
        super().__init__(
            wants=PictureSpec(width_px=width_px, height_px=height_px, colour=True, rate_hz=rate_hz),
            model=f"{name}@{content_hash(place)}",
            device=device,
            slimming=slimming,
        )
        loaded = load_model(place, torch.float32 if adapter else self._dtype, unused=("text_model", "text_projection"))
        self.net, has_pooler = loaded.model, not loaded.missing
        if adapter:
            self.net = with_adapter(self.net, Path(adapter)).to(self._dtype)
            self.model += f"+{version or adapter_hash(Path(adapter))}"
        self.sight = Sight(
            wants=self.wants,
            scaler=_scaler(settings).to(self._device),
            patch_px=int(settings["patch_size"]) if _is_naflex(settings) else 0,
            has_pooler=has_pooler,
        )
        has_words = keeps_words(words, place, self.net, name)
        if not has_words:
            without_words(self.net)
        to_device(self.net, self._device, place)
        slimming.apply(getattr(self.net, "vision_model", self.net), name=name)
        if has_words:
            self.encode_words = WordHalf(self.net, place, self._device)
        self._warm_up()

    def _features(self, inputs: UInt8) -> torch.Tensor:
        return self.sight.features(self.net, torch.tensor(inputs, device=self._device), self._dtype)

    def _named(self) -> str:
        return f"pictures of {self.wants.width_px}x{self.wants.height_px} px"


def _patches(values: torch.Tensor, patch_px: int) -> dict[str, torch.Tensor]:
    """(N, 3, H, W) -> what a SigLIP 2 of changing size (NaFlex) takes: patches row by row, colours last."""
    num, colours, height_px, width_px = values.shape
    rows, columns = height_px // patch_px, width_px // patch_px
    cut = values.reshape(num, colours, rows, patch_px, columns, patch_px).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": cut.reshape(num, rows * columns, -1),
        "pixel_attention_mask": torch.ones(num, rows * columns, dtype=torch.int64, device=values.device),
        "spatial_shapes": torch.tensor([[rows, columns]], device=values.device).expand(num, 2),
    }


def _scaler(settings: Mapping[str, Any]) -> Scaler:
    normalises, rescales = settings.get("do_normalize", True), settings.get("do_rescale", True)
    return Scaler(
        mean=settings["image_mean"] if normalises else (0.0, 0.0, 0.0),
        std=settings["image_std"] if normalises else (1.0, 1.0, 1.0),
        factor=float(settings.get("rescale_factor", 1 / 255)) if rescales else 1.0,
    )


def _processor_settings(place: Path) -> dict[str, Any]:
    """The folder's image processor as plain values, with the defaults of its class filled in."""
    from transformers import AutoImageProcessor

    loader: Any = AutoImageProcessor
    try:
        return dict(loader.from_pretrained(place, local_files_only=True).to_dict())
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{place} holds no usable image processor: {first_words(error)}") from error


def _is_naflex(settings: Mapping[str, Any]) -> bool:
    return settings.get("max_num_patches") is not None and settings.get("size") is None


def _input_size_px(settings: Mapping[str, Any], place: Path) -> tuple[int, int]:
    """(width, height) that the model is fed with: after the crop where there is one."""
    if _is_naflex(settings):  # any grid of so many patches would do: the square one
        side_px = math.isqrt(int(settings["max_num_patches"])) * int(settings["patch_size"])
        return side_px, side_px
    size = dict((settings.get("crop_size") if settings.get("do_center_crop") else None) or settings.get("size") or {})
    side = size.get("shortest_edge")
    width_px, height_px = int(size.get("width") or side or 0), int(size.get("height") or side or 0)
    if not 0 < min(width_px, height_px) <= max(width_px, height_px) <= _LARGEST_SIDE_PX:
        raise ConfigError(f"{place}: its image processor names no size that can be used, got {size}")
    return width_px, height_px
