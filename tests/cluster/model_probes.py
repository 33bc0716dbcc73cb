"""Encoders with the failings of real models. Serve replicas import them by name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Float32, PictureSpec, UInt8

TIGHT = "tests.cluster.model_probes:TightProbe"
LATE = "tests.cluster.model_probes:LateProbe"


class TightProbe:
    """Has memory for ``room`` pictures at once. A picture of 255s breaks it."""

    channel: ClassVar[Channel] = Channel(name="tight", modality="picture")
    wants = PictureSpec(width_px=8, height_px=8)
    dim = 2

    def __init__(self, *, room: int = 1_000_000, delay_s: float = 0.0) -> None:
        self.model = f"tight@{room}"
        self._room, self._delay_s = room, delay_s

    def encode(self, pictures: UInt8) -> Float32:
        import torch

        if len(pictures) > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if pictures.any():  # warm-up and health probes are black
            time.sleep(self._delay_s)
        means = pictures.mean(axis=(1, 2))
        if (means == 255).any():
            raise RuntimeError("the model broke")
        return np.stack([means, np.full(len(means), len(means))], axis=1).astype(np.float32)


class LateProbe:
    """The mean of the picture, once ``weights`` is there."""

    channel: ClassVar[Channel] = Channel(name="late", modality="picture", aspect="late")
    wants = PictureSpec(width_px=8, height_px=8)
    dim = 1

    def __init__(self, *, weights: str) -> None:
        if not Path(weights).is_file():
            raise ValueError(f"there are no weights at {weights}; mount the folder")
        self.model = "late@1"

    def encode(self, pictures: UInt8) -> Float32:
        return pictures.mean(axis=(1, 2))[:, None].astype(np.float32)
