"""An encoder whose speed and failures a test chooses. Serve replicas import it by name."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Float32, PictureSpec, UInt8

NAME = "tests.cluster.probe:ProbeEncoder"


class ProbeEncoder:
    """The mean of the picture, and how many pictures shared its batch. A picture of 255s breaks the model."""

    channel: ClassVar[Channel] = Channel(name="probe", modality="picture")
    dim = 2

    def __init__(self, *, version: str = "1", delay_s: float = 0.0, side_px: int = 8) -> None:
        self.wants = PictureSpec(width_px=side_px, height_px=side_px)
        self.model = f"probe@{version}"
        self._delay_s = delay_s

    def encode(self, pictures: UInt8) -> Float32:
        if pictures.any():  # warm-up and health probes are black
            time.sleep(self._delay_s)
        means = pictures.mean(axis=(1, 2))
        if (means == 255).any():
            raise RuntimeError("the model broke")
        return np.stack([means, np.full(len(means), len(means))], axis=1).astype(np.float32)
