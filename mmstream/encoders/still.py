"""What stays where nothing used to be: something left, somebody who fell, a car where none parks.

What measures motion is blind to it by design, and a picture of 9 x 16 cells is too coarse for a bag.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmstream.downscale import area_reduced
from mmstream.robust import in_light_of
from mmstream.types import Channel, Embedding, Float32, UInt8, Where, Window

GRID = (36, 64)
BLOCK = 4
"""The vector has a number per block of 4 x 4 cells: where something stays decides whether it is usual."""

MAX_FRAMES = 5
LEARN_S = 30.0
"""What was seen most in the first so many seconds is taken as the empty scene."""

STAY_S = 4.0
"""Time constant: after so long at rest a thing has 63 % of its weight."""

ABSORB = 0.05
"""The empty scene follows by so many deviations a second: a bag becomes part of it in about a quarter of an hour."""

LEAST_NOISE = 2.0
"""Levels: so much any camera's picture differs from itself."""

MOVING_NOISES = 4.0
NOISE_RATE = 0.02
IGNORED, MOST = 3.0, 12.0
"""Differences below so many deviations are nothing, those above the second are cut."""

MAX_PAUSE_S = 10.0


class StillEncoder:
    """Difference from the empty scene where nothing moves, held over seconds.

    On a grid of 36 x 64 cells: a slow background, brought to the light of the moment by its quartiles, the noise of
    each cell, and what differs from it at rest, minus what differs everywhere. The vector (144,): in each of 9 x 16
    blocks log(1 + d) of the strongest 2 x 2 cells, d in deviations above three. 0 everywhere: the scene is empty, or
    whatever is there moves.

    Says nothing for the first half minute. About 0.6 ms per window of five frames.
    """

    channel: ClassVar[Channel] = Channel(
        name="still", modality="picture", normality="bank", density=False, least=0.5, weight=0.5, aspect="still"
    )

    def __init__(self) -> None:
        self.model = "still@1"
        self.dim = (GRID[0] // BLOCK) * (GRID[1] // BLOCK)
        self._known: dict[int, tuple[UInt8, Float32]] = {}
        self._first: list[Float32] = []
        self._first_s = 0.0
        self._background: Float32 | None = None
        self._newest: Float32 | None = None
        self._noise: Float32 = np.full(GRID, LEAST_NOISE, np.float32)
        self._stays: Float32 = np.zeros(GRID, np.float32)
        self._last_s = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        """Without what is known: it goes by the identity of arrays, which another process has not."""
        return {**self.__dict__, "_known": {}}

    def encode(self, window: Window) -> Embedding | None:
        """None without frames, and while the empty scene is not known."""
        step = max(1, len(window.frames) // MAX_FRAMES)
        frames = window.frames[::step]
        if not frames:
            return None
        passed_s = min(max(window.end_s - self._last_s, 0.0), MAX_PAUSE_S)
        self._last_s = window.end_s
        small = self._reduced([frame.luma for frame in frames])
        scene: Float32 = np.median(small, axis=0)
        # a picture alone does not say what moves in it: a sleeping feed's is compared with the one before
        seen = (
            small if self._newest is None or len(small) == MAX_FRAMES else np.concatenate([self._newest[None], small])
        )
        self._newest = small[-1]
        if self._background is None:
            self._begin(scene, window.end_s)
            return None
        usual = in_light_of(self._background, scene)
        moving = np.ptp(seen, axis=0) > MOVING_NOISES * self._noise
        self._compare(scene, usual, moving, passed_s)
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=_pooled(self._stays),
            model=self.model,
        )

    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:
        """The blocks that are at least half as far above their usual value as the strongest."""
        above = np.maximum(vector - (usual if usual is not None else 0.0), 0.0)
        if not above.any():
            return None
        rows, cols = GRID[0] // BLOCK, GRID[1] // BLOCK
        at = np.argwhere(above.reshape(rows, cols) >= 0.5 * above.max())
        (top, left), (bottom, right) = at.min(axis=0).tolist(), (at.max(axis=0) + 1).tolist()
        return Where(region=(left / cols, top / rows, right / cols, bottom / rows))

    def _begin(self, scene: Float32, end_s: float) -> None:
        if not self._first:
            self._first_s = end_s
        self._first.append(scene)
        if end_s - self._first_s >= LEARN_S:
            self._background = np.median(self._first, axis=0).astype(np.float32)
            self._first = []
        elif len(self._first) > 2 * LEARN_S:  # windows that overlap more than usual
            del self._first[1::2]

    def _compare(self, scene: Float32, usual: Float32, moving: npt.NDArray[np.bool_], passed_s: float) -> None:
        assert self._background is not None
        away = scene - usual
        apart = np.abs(away) / self._noise
        found = np.clip(apart - np.median(apart) - IGNORED, 0.0, MOST)
        weight = np.float32(1.0 - math.exp(-passed_s / STAY_S))
        # behind what passes in front of it, a thing goes on staying
        self._stays += np.where(moving, 0.0, weight * (found - self._stays)).astype(np.float32)
        limit = ABSORB * passed_s * self._noise
        # kept in the light that it was first seen in: brought to darkness and back it would not be the same
        self._background += np.where(moving, 0.0, np.clip(away, -limit, limit)).astype(np.float32)
        quiet = ~moving & (apart < IGNORED)
        rate = np.float32(NOISE_RATE * min(passed_s, 1.0))
        target = np.maximum(1.25 * np.abs(away), LEAST_NOISE)  # from a mean size to a standard deviation
        self._noise += np.where(quiet, rate * (target - self._noise), 0.0).astype(np.float32)

    def _reduced(self, lumas: list[UInt8]) -> Float32:
        """(frames, 36, 64); a frame lies in two windows and is reduced once.

        The pictures are kept with their cells, so that no other can have their identity.
        """
        known = {id(luma): self._known.get(id(luma)) or (luma, area_reduced(luma, *GRID)) for luma in lumas}
        self._known = known
        return np.array([known[id(luma)][1] for luma in lumas])


def _pooled(stays: Float32) -> Float32:
    """(36, 64) -> (144,): the strongest 2 x 2 mean of every block, as log(1 + d)."""
    means = 0.25 * (stays[::2, ::2] + stays[1::2, ::2] + stays[::2, 1::2] + stays[1::2, 1::2])
    rows, cols, half = GRID[0] // BLOCK, GRID[1] // BLOCK, BLOCK // 2
    blocks: Float32 = np.log1p(means.reshape(rows, half, cols, half).max(axis=(1, 3))).ravel()
    return blocks
