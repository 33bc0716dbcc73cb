"""Oriented gradients of the whole picture, as torch operations on a batch: no download, no training.

In the spirit of HOG (Dalal and Triggs, CVPR 2005): smoothed gradients, a histogram of their directions per cell,
square root after normalisation. A pixel of gradient direction t adds ``m * cos(t - t_k)**4`` to bin k. That soft
assignment has only the harmonics 0, 2 and 4 of t, so pooling five moments per cell and forming the bins afterwards
is exact, at a third of the work of making the bins per pixel.

Also here: what every torch encoder needs, the choice of device and number format.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional

from mmstream.encoders.batching import check_inputs
from mmstream.errors import ConfigError
from mmstream.types import Channel, Float32, PictureSpec, UInt8

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]

SMOOTHING_PX = 0.7
NUM_ORIENTATIONS = 8
MEAN_SHARE = 3 / 8
"""Mean of cos**4: what an edge adds to a bin on average."""
CELL_PX = 8
BLOCK_CELLS = (3, 4)
"""Rows and columns of cells per block: a 160x96 picture has 20x12 cells and 5x4 blocks."""
NOISE_FLOOR = 2.0
"""Grey levels per pixel: gradients weaker than this count as sensor noise."""
CPU_SLICE = 8
"""Pictures at a time on a CPU: the maps of 128 at once fall out of its cache and take 3.6 times as long."""


def pick_device(device: str) -> torch.device:
    """``auto`` takes a GPU when there is one.

    Raises:
        ConfigError: unknown name, or ``cuda`` where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"there is no device {device!r}; choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda' but torch finds no GPU here; choose auto or cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """``auto``: bfloat16 where the device multiplies it in hardware matrices (recent GPUs, CPUs with AMX).

    Measured on a CPU that has AVX512-BF16 but no AMX: bf16 took 1.1 to 1.4 times as long as fp32 (ViT-B/32, ResNet-18).

    Raises:
        ConfigError: unknown name.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"there is no precision {precision!r}; choose auto, fp32 or bf16")
    if precision == "auto":
        on_gpu = device.type == "cuda"
        fast = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_amx_tile_supported()
        precision = "bf16" if fast else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


class FilterBankEncoder:
    """Where in the picture there are edges, and which way they run.

    Per block of 32x24 px and orientation: the mean of its 8-px cells, and the largest of them (a small new object
    fills one cell, and drowns in a mean). 5 columns x 4 rows x 8 orientations x 2 = 320 numbers. Brightness cancels in
    the gradient, contrast in the division by the picture's mean.

    >>> encoder = FilterBankEncoder(device="cpu")
    >>> encoder.encode(np.zeros((2, 96, 160), np.uint8)).shape
    (2, 320)
    """

    channel: ClassVar[Channel] = Channel(name="filterbank", modality="picture", normality="bank", density=True)
    wants: PictureSpec = PictureSpec(width_px=160, height_px=96, colour=False, rate_hz=1.0)
    model = "filterbank@1"
    dim = 320

    def __init__(self, *, device: Device = "auto", precision: Precision = "auto") -> None:
        self._device = pick_device(device)
        # Measured on a CPU: bf16 takes 1.4 to 1.8 times as long for filters this small, so auto means fp32.
        self._dtype = pick_dtype("fp32" if precision == "auto" else precision, self._device)
        self._kernels = _gradient_kernels().to(self._device, self._dtype)
        self._bins = _bins_of_moments().to(self._device)

    def encode(self, pictures: UInt8) -> Float32:
        check_inputs(pictures, self.wants)
        step = CPU_SLICE if self._device.type == "cpu" else max(1, len(pictures))
        with torch.inference_mode():
            parts = [self._encode(pictures[i : i + step]) for i in range(0, len(pictures), step)]
            rows = torch.cat(parts) if parts else torch.zeros(0, self.dim)
            return np.asarray(rows.cpu().numpy(), np.float32)

    def _encode(self, pictures: UInt8) -> torch.Tensor:
        luma = torch.tensor(pictures, device=self._device)[:, None].to(self._dtype)
        moments = _direction_moments(functional.conv2d(functional.pad(luma, (2, 2, 2, 2), "replicate"), self._kernels))
        cells = functional.avg_pool2d(moments, CELL_PX).float()  # (N, 5, 12, 20)
        histograms = torch.einsum("km,nmrc->nkrc", self._bins, cells).clamp_(min=0.0)
        pooled = torch.cat(
            [functional.avg_pool2d(histograms, BLOCK_CELLS), functional.max_pool2d(histograms, BLOCK_CELLS)], dim=1
        )
        level = histograms.mean(dim=(1, 2, 3), keepdim=True)
        return torch.sqrt(pooled / (level + NOISE_FLOOR * MEAN_SHARE)).flatten(1)


def _gradient_kernels() -> torch.Tensor:
    """(2, 1, 5, 5): x and y derivative of a Gaussian; a ramp of one grey level per pixel gives 1."""
    offsets_px = torch.arange(-2.0, 3.0)
    smooth = torch.exp(-(offsets_px**2) / (2 * SMOOTHING_PX**2))
    smooth = smooth / smooth.sum()
    slope = offsets_px * smooth
    slope = slope / (slope * offsets_px).sum()
    return torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]


def _bins_of_moments() -> torch.Tensor:
    """(8, 5): from mean m, m cos 2t, m sin 2t, m cos 4t, m sin 4t to the bins.

    cos(x)**4 = 3/8 + cos(2x)/2 + cos(4x)/8.
    """
    centres = torch.arange(NUM_ORIENTATIONS) * (math.pi / NUM_ORIENTATIONS)
    return torch.stack(
        [
            torch.full_like(centres, MEAN_SHARE),
            torch.cos(2 * centres) / 2,
            torch.sin(2 * centres) / 2,
            torch.cos(4 * centres) / 8,
            torch.sin(4 * centres) / 8,
        ],
        dim=1,
    )


def _direction_moments(gradient: torch.Tensor) -> torch.Tensor:
    """(N, 2, H, W) gradient -> (N, 5, H, W): m, m cos 2t, m sin 2t, m cos 4t, m sin 4t, without any angle."""
    across, down = gradient[:, :1], gradient[:, 1:]
    magnitude = torch.sqrt(across * across + down * down + 1e-4)
    cos2 = (across * across - down * down) / magnitude
    sin2 = 2 * across * down / magnitude
    return torch.cat(
        [magnitude, cos2, sin2, 2 * cos2 * cos2 / magnitude - magnitude, 2 * cos2 * sin2 / magnitude], dim=1
    )
