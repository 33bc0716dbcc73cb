"""A picture encoder that knows two words: how light and how dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Float32, PictureSpec, UInt8


class LightEncoder:
    channel: ClassVar[Channel] = Channel(name="vision", modality="picture")
    model = "light@1"
    dim = 2
    wants = PictureSpec(width_px=32, height_px=32, colour=True)

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = device
        self.asked: list[str] = []

    def encode(self, pictures: UInt8) -> Float32:
        light = pictures.reshape(len(pictures), -1).mean(1) / 255.0
        return np.stack([light, 1.0 - light], 1).astype(np.float32)

    def encode_words(self, texts: Sequence[str]) -> Float32:
        self.asked += texts
        return np.array([[1.0, 0.0] if "light" in text else [0.7, 0.7] for text in texts], np.float32)
