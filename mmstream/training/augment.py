"""What may differ between two recordings of the same moment: framing, light, focus, loudness. Not direction.

All windows of a burst are changed alike, so that what moved between them is what moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmstream.training.footage import MEL_BANDS, MEL_FRAMES
from mmstream.types import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much; all drawn evenly from what is given here."""

    shift: float = 0.1
    """Of the side, and so much is cut off or added: a lens, a pole in the wind."""
    light: float = 0.2
    """Gain of all colours, 1 plus or minus."""
    contrast: float = 0.2
    blurred: float = 0.2
    """Share of bursts that are out of focus."""
    flip: bool = False
    """Mirrored, half of them: off, for which way something goes matters."""
    loudness: float = 0.35
    """In natural logarithms of power, plus or minus: 1.5 dB. How loud it is matters, too."""
    masked_bands: int = 8
    masked_frames: int = 12
    """Of the log-mel, at most; one stretch of each (SpecAugment, Park et al. 2019)."""
    roll_frames: int = 8
    """The sound of a window may begin so much earlier or later."""


def augmented_pictures(pictures: Tensor, of: Augmentation, random: np.random.Generator) -> Tensor:
    """uint8 (B, T, H, W, 3) -> the same, changed per burst."""
    num, length, height, width = pictures.shape[:4]
    maps = pictures.flatten(0, 1).permute(0, 3, 1, 2).float()
    each = _frames_of(num, random, of).repeat_interleave(length, dim=0)
    grid = functional.affine_grid(each, [len(maps), 3, height, width], align_corners=False)
    maps = functional.grid_sample(maps, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    maps = _focused(maps, torch.from_numpy(random.random(num) < of.blurred).repeat_interleave(length))
    gain = _per_window(random.uniform(1 - of.light, 1 + of.light, num), length)
    contrast = _per_window(random.uniform(1 - of.contrast, 1 + of.contrast, num), length)
    middle = maps.mean(dim=(1, 2, 3), keepdim=True)
    maps = ((maps - middle) * contrast + middle) * gain
    changed = maps.clamp(0, 255).round().to(torch.uint8)
    return changed.permute(0, 2, 3, 1).reshape(pictures.shape)


def augmented_mels(mels: Tensor, of: Augmentation, random: np.random.Generator) -> Tensor:
    """(B, T, bands, frames) -> the same, changed per burst; what is masked is the mean of its window."""
    num, length = mels.shape[:2]
    loudness = torch.from_numpy(random.uniform(-of.loudness, of.loudness, num)).to(mels.dtype)
    changed = mels + loudness[:, None, None, None]
    steps = random.integers(-of.roll_frames, of.roll_frames + 1, num)
    changed = torch.stack([torch.roll(burst, int(step), -1) for burst, step in zip(changed, steps, strict=True)])
    bands = _stretches(num, MEL_BANDS, of.masked_bands, random)[:, None, :, None]
    frames = _stretches(num, MEL_FRAMES, of.masked_frames, random)[:, None, None, :]
    masked = (bands | frames).expand(num, length, MEL_BANDS, MEL_FRAMES)
    return torch.where(masked, changed.mean(dim=(2, 3), keepdim=True), changed)


def _frames_of(num: int, random: np.random.Generator, of: Augmentation) -> Tensor:
    """(num, 2, 3): where each output pixel is taken from, for `affine_grid` (the picture is -1..1)."""
    zoom = random.uniform(1 - of.shift, 1 + of.shift, num)
    moved = random.uniform(-of.shift, of.shift, (num, 2))
    mirrored = np.where(random.random(num) < 0.5, -1.0, 1.0) if of.flip else np.ones(num)
    rows = np.zeros((num, 2, 3), np.float32)
    rows[:, 0, 0], rows[:, 1, 1] = zoom * mirrored, zoom
    rows[:, :, 2] = moved
    return torch.from_numpy(rows)


def _focused(maps: Tensor, blurred: Tensor) -> Tensor:
    """``blurred`` (N,): those are replaced, in place, by means over 3 x 3 px."""
    edged = functional.pad(maps[blurred], (1, 1, 1, 1), mode="replicate")
    maps[blurred] = functional.avg_pool2d(edged, 3, stride=1)
    return maps


def _per_window(values: Float64, length: int) -> Tensor:
    """(B,) -> (B * T, 1, 1, 1)."""
    return torch.from_numpy(values.astype(np.float32)).repeat_interleave(length)[:, None, None, None]


def _stretches(num: int, size: int, longest: int, random: np.random.Generator) -> Tensor:
    """(num, size) bool: one stretch of each row is marked."""
    lengths = random.integers(0, longest + 1, num)
    starts = random.integers(0, size - lengths + 1)
    at = np.arange(size)
    return torch.from_numpy((at >= starts[:, None]) & (at < (starts + lengths)[:, None]))
