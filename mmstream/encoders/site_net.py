"""The networks that a site trains for itself: one that sees, one that hears; a few hundred thousand weights each.

Depthwise-separable convolutions (Howard et al. 2017, MobileNets), small enough for one core beside a decoder. Both keep
where something is, for a camera does not move: the last maps are read cell by cell, not only averaged.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmstream.encoders.footage_mel import NUM_FRAMES
from mmstream.encoders.sound import NUM_BANDS
from mmstream.errors import ConfigError

DIM = 128
SIDE_PX = 112
PICTURE_MEAN, PICTURE_SCALE = 110.0, 60.0
MEL_MEAN, MEL_SCALE = -13.0, 4.0
FORMAT = "site@1"
"""Changes when other layers could no longer read the same weights."""
PARTS = ("picture", "sound")
_CELL_CHANNELS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """A stem of stride 4, and blocks as (channels, stride) each."""

    channels_in: int
    stem: int
    blocks: tuple[tuple[int, int], ...]
    grid: tuple[int, int]
    """Rows and columns of the last maps."""


PICTURE = Layers(channels_in=3, stem=48, blocks=((48, 1), (96, 2), (96, 1), (192, 2), (192, 1)), grid=(7, 7))
SOUND = Layers(channels_in=1, stem=48, blocks=((96, 2), (96, 1), (192, 2)), grid=(4, 6))


class Separable(nn.Module):
    """A depthwise 3x3 convolution and a 1x1, each normalised and rectified; with a short cut where the shape stays."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm_out: nn.Module = nn.BatchNorm2d(channels)
        self._is_same = stride == 1 and channels_in == channels

    def forward(self, maps: Tensor) -> Tensor:
        inner = functional.relu(self.norm(self.depthwise(maps)), inplace=True)
        out: Tensor = functional.relu(self.norm_out(self.pointwise(inner)), inplace=True)
        return maps + out if self._is_same else out


class SmallNet(nn.Module):
    """(N, channels_in, H, W) -> (N, DIM): of the last maps the mean, the maximum, and each cell in fewer channels."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.stem = nn.Conv2d(layers.channels_in, layers.stem, 7, 4, 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(layers.stem)
        widths = [layers.stem, *(channels for channels, _ in layers.blocks)]
        strides = [stride for _, stride in layers.blocks]
        self.blocks = nn.Sequential(*map(Separable, widths[:-1], widths[1:], strides))
        self.cells = nn.Conv2d(widths[-1], _CELL_CHANNELS, 1)
        rows, columns = layers.grid
        self.out = nn.Linear(2 * widths[-1] + _CELL_CHANNELS * rows * columns, DIM)
        self.norm_out = nn.BatchNorm1d(DIM, affine=False)  # without it all vectors are nearly one at the start

    def fused(self) -> SmallNet:
        """The same in evaluation mode, normalisation folded into the convolutions: two thirds of the time."""
        net = copy.deepcopy(self).eval()
        net.stem, net.norm = _folded(net.stem, net.norm), nn.Identity()
        for block in net.modules():
            if isinstance(block, Separable):
                block.depthwise, block.norm = _folded(block.depthwise, block.norm), nn.Identity()
                block.pointwise, block.norm_out = _folded(block.pointwise, block.norm_out), nn.Identity()
        return net

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.blocks(functional.relu(self.norm(self.stem(maps)), inplace=True))
        cells = functional.relu(self.cells(maps)).flatten(1)
        vectors: Tensor = self.norm_out(
            self.out(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3)), cells], dim=1))
        )
        return vectors


def _folded(convolution: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)


class PictureNet(SmallNet):
    """uint8 (N, 112, 112, 3) RGB -> (N, DIM)."""

    def __init__(self) -> None:
        super().__init__(PICTURE)

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward((pictures.permute(0, 3, 1, 2).to(self.out.weight.dtype) - PICTURE_MEAN) / PICTURE_SCALE)


class SoundNet(SmallNet):
    """(N, 64, 96) log-mel (`footage_mel`) -> (N, DIM)."""

    def __init__(self) -> None:
        super().__init__(SOUND)

    def forward(self, mels: Tensor) -> Tensor:
        return super().forward((mels[:, None].to(self.out.weight.dtype) - MEL_MEAN) / MEL_SCALE)


def about(*, parts: tuple[str, ...]) -> dict[str, str]:
    """What stands in the metadata of a weights file."""
    return {
        "format": FORMAT,
        "parts": ",".join(parts),
        "dim": str(DIM),
        "picture": f"{SIDE_PX}x{SIDE_PX} RGB",
        "mel": f"{NUM_BANDS}x{NUM_FRAMES} ln power",
    }


def told_by(weights: bytes) -> dict[str, str]:
    """The metadata of a weights file."""
    length = int.from_bytes(weights[:8], "little")
    told: dict[str, str] = json.loads(weights[8 : 8 + length]).get("__metadata__", {})
    return told


def load_part(path: Path, part: str, net: nn.Module) -> Mapping[str, str]:
    """Fill ``net`` with the weights called ``<part>.*`` in a file that a training wrote; -> its metadata.

    Raises:
        ConfigError: no such file, no such part in it, or weights of other layers.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = dict(file.metadata() or {})
            names = [name for name in list(file.keys()) if name.startswith(f"{part}.")]
            state = {name.removeprefix(f"{part}."): file.get_tensor(name) for name in names}
    except OSError as error:
        raise ConfigError(f"cannot read the weights file {path}: {error.strerror or error}; train again") from error
    except SafetensorError as error:
        raise ConfigError(f"{path} is damaged or no safetensors file ({error}); roll back, or train again") from error
    if told.get("format") != FORMAT:
        raise ConfigError(f"{path} holds weights of {told.get('format', 'something else')}, want {FORMAT}; train again")
    if part not in told["parts"].split(","):
        raise ConfigError(f"{path} holds no {part} network: nothing of the kind was recorded; train again")
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} does not hold the weights of {FORMAT}: {why}; train again") from error
    return told
