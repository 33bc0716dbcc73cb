"""A small network that says how fast what it sees usually moves: its layers, its weights, its forward pass in NumPy.

For every cell of 4 x 4 px it gives a Laplace distribution of the speed there, from one picture and the background
alone. It is trained with torch (`expectation_training`) and runs without: normalisation is folded into the weights,
and a convolution is one matrix product. Importing torch would cost every shard 200 MB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmstream.errors import ConfigError
from mmstream.types import Float32, UInt8


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution, normalised and rectified; padded so that only its stride makes the picture smaller."""

    channels_in: int
    channels: int
    size: int
    stride: int = 1
    dilation: int = 1

    @property
    def padding(self) -> int:
        return self.dilation * (self.size // 2)


LAYERS = (
    Layer(channels_in=2, channels=8, size=5, stride=2),
    Layer(channels_in=8, channels=24, size=3, stride=2),
    Layer(channels_in=24, channels=24, size=3),
    Layer(channels_in=24, channels=24, size=3, dilation=2),
    Layer(channels_in=24, channels=24, size=3, dilation=3),
)
HIDDEN = 24
"""Then, cell by cell: features and the row (0 top, 1 bottom) -> HIDDEN -> expected speed and its scale."""
CELL_PX = 4
LEAST_SCALE = 0.05
"""Of the Laplace distribution, in pixels per 0.1 s of a picture 360 px wide, as all speeds here."""
FORMAT = "expectation@1"
_ARRAYS = tuple(
    f"{name}.{part}" for name in (*(f"layer{n}" for n in range(len(LAYERS))), "hidden", "out") for part in ("w", "b")
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedNet:
    """What training gives, and all that the encoder needs: 120 KB."""

    arrays: Mapping[str, Float32]
    """``layer0.w`` (channels, channels_in * size * size), ``layer0.b`` (channels,), ..., ``hidden``, ``out``."""
    background: UInt8
    """(H, W) what stood still in training: where the running background starts."""
    start_s: float
    """Training pictures from here ..."""
    end_s: float
    """... to here."""
    num_frames: int

    @property
    def model(self) -> str:
        """``expectation@1-`` and what tells these weights from all others: two nets' surprises are never compared."""
        digest = hashlib.sha256()
        for name in _ARRAYS:
            digest.update(np.ascontiguousarray(self.arrays[name]).tobytes())
        return f"{FORMAT}-{digest.hexdigest()[:8]}"

    def expect(self, seen: Float32) -> tuple[Float32, Float32]:
        """(2, H, W) -> speed and scale, (rows, cols) each, rows = H / 4 and cols = W / 4 rounded up."""
        maps = seen
        for number, layer in enumerate(LAYERS):
            maps = _convolved(maps, layer, self.arrays[f"layer{number}.w"], self.arrays[f"layer{number}.b"])
        rows, cols = maps.shape[1:]
        features = np.empty((len(maps) + 1, rows * cols), np.float32)
        features[:-1] = maps.reshape(len(maps), -1)
        features[-1] = np.repeat(np.arange(rows, dtype=np.float32) / np.float32(rows), cols)
        hidden = np.maximum(self.arrays["hidden.w"] @ features + self.arrays["hidden.b"][:, None], 0.0)
        speed, scale = np.logaddexp(0.0, self.arrays["out.w"] @ hidden + self.arrays["out.b"][:, None])
        return speed.reshape(rows, cols), (scale + np.float32(LEAST_SCALE)).reshape(rows, cols)

    def save(self) -> bytes:
        """As safetensors: numbers that cannot run code, with the model's name and the range of its training."""
        from safetensors.numpy import save

        about = {
            "model": self.model,
            "start_s": json.dumps(self.start_s),
            "end_s": json.dumps(self.end_s),
            "num_frames": str(self.num_frames),
        }
        return save({**{name: self.arrays[name] for name in _ARRAYS}, "background": self.background}, about)

    @classmethod
    def load(cls, weights: bytes | Path | str) -> TrainedNet:
        """What `save` gave, as bytes or in a file.

        Raises:
            ConfigError: there is no such file, or these are other weights.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        where = "these weights" if isinstance(weights, bytes) else str(weights)
        try:
            content = weights if isinstance(weights, bytes) else Path(weights).read_bytes()
            arrays = load(content)
            about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            net = cls(
                arrays={name: arrays[name] for name in _ARRAYS},
                background=arrays["background"],
                start_s=float(about["start_s"]),
                end_s=float(about["end_s"]),
                num_frames=int(about["num_frames"]),
            )
            net._check()
        except OSError as error:
            raise ConfigError(f"cannot read {where}: {error.strerror}; train the expectation channel first") from error
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{where}: no weights of {FORMAT} ({error}); train the expectation channel anew"
            ) from error
        if net.model != about["model"]:
            raise ConfigError(f"{where}: the weights are not those of {about['model']}; train the channel anew")
        return net

    def _check(self) -> None:
        """Raises ValueError: an array has another shape or type than this version's layers."""
        wanted = {
            **{f"layer{n}": (layer.channels, layer.channels_in * layer.size**2) for n, layer in enumerate(LAYERS)},
            "hidden": (HIDDEN, LAYERS[-1].channels + 1),
            "out": (2, HIDDEN),
        }
        for name, shape in wanted.items():
            found = self.arrays[f"{name}.w"].shape, self.arrays[f"{name}.b"].shape
            if found != (shape, shape[:1]):
                raise ValueError(f"{name} has the shapes {found}, want {(shape, shape[:1])}")
        if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in self.arrays.values()):
            raise ValueError("the weights are not finite float32 numbers")
        if self.background.dtype != np.uint8 or self.background.ndim != 2:
            raise ValueError(f"the background is {self.background.dtype} {self.background.shape}, want uint8 (H, W)")


def _convolved(maps: Float32, layer: Layer, weights: Float32, bias: Float32) -> Float32:
    """(channels_in, H, W) -> (channels, H / stride, W / stride) rounded up, rectified."""
    height, width = maps.shape[1:]
    rows, cols = -(-height // layer.stride), -(-width // layer.stride)
    edge = layer.padding
    padded = np.zeros((len(maps), height + 2 * edge, width + 2 * edge), np.float32)
    padded[:, edge : edge + height, edge : edge + width] = maps
    patches = np.empty((len(maps), layer.size, layer.size, rows, cols), np.float32)
    for row in range(layer.size):
        top = row * layer.dilation
        for col in range(layer.size):
            left = col * layer.dilation
            patches[:, row, col] = padded[
                :, top : top + layer.stride * rows : layer.stride, left : left + layer.stride * cols : layer.stride
            ]
    out: Float32 = weights @ patches.reshape(weights.shape[1], rows * cols)
    out += bias[:, None]
    return np.maximum(out, 0.0, out=out).reshape(layer.channels, rows, cols)
