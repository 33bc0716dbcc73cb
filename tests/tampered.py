"""A rendered camera that somebody tampers with: the pictures and the sound are changed before they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageFilter

from mmstream.sources.synthetic.render import SceneEncoder, make_scene
from mmstream.types import Float32, UInt8

Faults = Sequence[tuple[str, float, float]]
"""(what, from second, to second)."""


class TamperedScene:
    """A scene as `SceneEncoder` wants it."""

    def __init__(self, scene: Any, faults: Faults) -> None:
        self._scene = scene
        self._faults = faults
        self._frozen: UInt8 | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scene, name)

    def frame(self, at_s: float) -> UInt8:
        picture: UInt8 = self._scene.frame(at_s)
        fault = self._fault_at(at_s)
        self._frozen = self._frozen if fault == "frozen" else None
        match fault:
            case "frozen":
                self._frozen = picture if self._frozen is None else self._frozen
                return self._frozen
            case "black":
                return np.zeros_like(picture)
            case "covered":
                random = np.random.default_rng(int(at_s * 1000))
                rows = np.linspace(50, 90, picture.shape[0])[:, None, None]
                return np.clip(rows + random.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)
            case "blurred":
                radius_px = picture.shape[1] / 90
                return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius_px)), np.uint8)
            case "moved":
                return np.roll(picture, (picture.shape[0] // 8, picture.shape[1] // 6), (0, 1))
            case "dimmed":
                return (picture * 0.4).astype(np.uint8)
        return picture

    def sound(self, start_s: float, n: int) -> Float32:
        samples: Float32 = self._scene.sound(start_s, n)
        match self._fault_at(start_s):
            case "mute":
                return np.zeros_like(samples)
            case "clipped":
                return np.clip(samples * 100, -1, 1).astype(np.float32)
        return samples

    def _fault_at(self, at_s: float) -> str:
        return next((what for what, from_s, to_s in self._faults if from_s <= at_s < to_s), "")


def film(
    path: Path, faults: Faults, *, seconds: float, scene: str = "dock", size: tuple[int, int] = (320, 180)
) -> Path:
    """An MP4 of the scene with the faults in it, encoded once as a camera would."""
    tampered: Any = TamperedScene(make_scene(scene, seed=3, size=size), faults)
    with av.open(str(path), "w") as container:
        encoder = SceneEncoder(container, tampered, size=size)
        for _ in range(int(seconds * tampered.frame_rate_hz)):
            encoder.advance()
        encoder.finish()
    return path
