"""Small pictures of the footage brought to the size that an encoder wants: the same for training and for trying."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mmstream.types import PictureSpec, UInt8


def fitted(pictures: torch.Tensor, wants: PictureSpec) -> torch.Tensor:
    """Bytes (N, H, W, 3) -> floats 0..255 of the size that is wanted; enlarged, it shows less than the camera does."""
    size = (wants.height_px, wants.width_px)
    colours_first = pictures.permute(0, 3, 1, 2).float()
    maps = functional.interpolate(colours_first, size, mode="bicubic", antialias=True).clamp(0.0, 255.0)
    return maps.permute(0, 2, 3, 1)


def sized(pictures: UInt8, wants: PictureSpec) -> UInt8:
    """Bytes (N, H, W, 3) -> as an encoder wants them, in grey where it wants that."""
    colours: UInt8 = fitted(torch.from_numpy(pictures), wants).round().to(torch.uint8).numpy()
    if wants.colour:
        return np.ascontiguousarray(colours)
    grey: UInt8 = (colours @ np.array([0.299, 0.587, 0.114], np.float32)).round().astype(np.uint8)
    return grey
