"""Which way the camera looks: the edges of what stands still, compared with the views it has had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.types import Float32, Mode, UInt8

KEEP_S = 24 * 3600.0
"""A view that has not been seen for so long is forgotten ..."""
MAX_SCENES = 6
"""... and beyond so many, the one not seen for longest."""

SAME = 0.5
"""A view is the same while it is at least so much of its usual likeness to the reference."""
FIRST_LIKENESS = 0.9
SHIFTED = 0.02
"""Of the picture's width. A smaller shift is wind or vibration."""
CLEARLY = 1.15
"""Somewhere else it must fit so much better than where it was, to be called shifted."""
LEARN = 0.01
"""Per view: the sun moves shadows within an hour, nobody turns a camera that slowly."""


@dataclass(slots=True)
class Scene:
    """One way of looking: a reference per mode, and how alike views of it usually are."""

    number: int
    seen_s: float
    references: dict[Mode, Float32] = field(default_factory=dict)
    usual: dict[Mode, float] = field(default_factory=dict)


class Views:
    """Recognises the scenes of one camera. Views come as `Condition.view`, every two seconds or so."""

    def __init__(self) -> None:
        self._scenes: dict[int, Scene] = {}
        self.current = 0
        self.likeness = 1.0
        """Of the last view to the current scene, as a share of what is usual: 1 = as ever, 0 = nothing in common."""

    def find(self, view: UInt8, mode: Mode, at_s: float) -> int | None:
        """The number of the scene that ``view`` shows, the current one first; None: one never seen."""
        seen = _unit(view)
        if not self._scenes:
            self._scenes[self.current] = Scene(self.current, at_s)
        here = self._scenes.get(self.current) or self._scenes.setdefault(self.current, Scene(self.current, at_s))
        reference = here.references.get(mode)
        if reference is None or reference.shape != seen.shape:
            known = next((s.number for s in self._scenes.values() if self._matches(seen, s, mode)), None)
            self.likeness = 1.0
            if known is None:
                # the first view in this mode, or the picture has another size: nothing to compare with
                here.references[mode], here.usual[mode], known = seen, FIRST_LIKENESS, self.current
            return known
        self.likeness = _likeness(seen, reference) / here.usual[mode]
        if self._matches(seen, here, mode):
            return self.current
        for scene in self._scenes.values():
            if scene.number != self.current and self._matches(seen, scene, mode):
                return scene.number
        return None

    def learn(self, view: UInt8, mode: Mode, at_s: float) -> None:
        """Call with views of the current scene while nothing is wrong with the camera."""
        scene = self._scenes[self.current]
        seen, reference = _unit(view), scene.references[mode]
        scene.seen_s = at_s
        scene.usual[mode] += LEARN * (min(1.0, max(0.3, _likeness(seen, reference))) - scene.usual[mode])
        scene.references[mode] = _normal(reference + np.float32(LEARN) * (seen - reference))

    def switch(self, number: int) -> None:
        """A known scene is looked at again."""
        self.current = number

    def begin(self, view: UInt8, mode: Mode, at_s: float) -> int:
        """A new scene begins with this view; -> its number."""
        self.current = max(self._scenes, default=0) + 1
        self._scenes[self.current] = Scene(self.current, at_s, {mode: _unit(view)}, {mode: FIRST_LIKENESS})
        self.forget(at_s)
        return self.current

    def replace(self, view: UInt8, mode: Mode) -> None:
        """The camera is still being turned: the current scene begins anew."""
        scene = self._scenes[self.current]
        scene.references, scene.usual = {mode: _unit(view)}, {mode: FIRST_LIKENESS}

    def drop(self, number: int) -> None:
        """It was no scene, only a moment."""
        self._scenes.pop(number, None)

    def forget(self, now_s: float) -> None:
        for scene in [s for s in self._scenes.values() if s.number != self.current and now_s - s.seen_s > KEEP_S]:
            del self._scenes[scene.number]
        while len(self._scenes) > MAX_SCENES:
            others = [scene for scene in self._scenes.values() if scene.number != self.current]
            del self._scenes[min(others, key=lambda scene: scene.seen_s).number]

    @property
    def numbers(self) -> frozenset[int]:
        """The scenes that would be recognised."""
        return frozenset(self._scenes) | {self.current}

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays)."""
        scenes = [[s.number, s.seen_s, dict(s.usual)] for s in self._scenes.values()]
        arrays = {
            f"{scene.number}.{mode}": reference.astype(np.float16)
            for scene in self._scenes.values()
            for mode, reference in scene.references.items()
        }
        return {"scenes": scenes}, dict(arrays)

    def load(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._scenes = {
            number: Scene(
                number,
                seen_s,
                {mode: _normal(arrays[f"{number}.{mode}"].astype(np.float32)) for mode in usual},
                dict(usual),
            )
            for number, seen_s, usual in record["scenes"]
        }

    def _matches(self, seen: Float32, scene: Scene, mode: Mode) -> bool:
        reference = scene.references.get(mode)
        if reference is None or reference.shape != seen.shape:
            return False
        likeness = _likeness(seen, reference)
        if likeness < SAME * scene.usual[mode]:
            return False
        # only a view that fits badly is worth two Fourier transforms
        return likeness > 0.8 * scene.usual[mode] or not is_shifted(seen, reference)


def is_shifted(seen: Float32, reference: Float32) -> bool:
    """Whether ``seen`` fits clearly better when moved by more than `SHIFTED` of the width.

    Cross-correlation by Fourier transform, over all shifts up to a quarter of the picture.
    """
    rows, cols = seen.shape
    surface = np.fft.irfft2(np.fft.rfft2(seen) * np.conj(np.fft.rfft2(reference)), s=seen.shape)
    down, right = np.unravel_index(int(surface.argmax()), surface.shape)
    dy, dx = min(int(down), rows - int(down)), min(int(right), cols - int(right))
    if dy > rows // 4 or dx > cols // 4:
        return False
    return float(np.hypot(dy, dx)) > SHIFTED * cols and float(surface.max()) > CLEARLY * float(surface[0, 0])


def _unit(view: UInt8) -> Float32:
    return _normal(view.astype(np.float32))


def _normal(values: Float32) -> Float32:
    values = values - values.mean()
    length = float(np.sqrt(np.vdot(values, values)))
    normal: Float32 = values / np.float32(length) if length > 0 else values
    return normal


def _likeness(a: Float32, b: Float32) -> float:
    return float(np.vdot(a, b))
