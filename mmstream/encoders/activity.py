"""How much moves, to be compared with what is usual at this hour: a busy midnight is unusual, a busy noon is not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mmstream.downscale import area_reduced
from mmstream.encoders.motion import CHANGED, MAX_PAIR_S, MOVING
from mmstream.types import Channel, Embedding, Float32, Frame, UInt8, Window

GRID = (18, 32)


class ActivityEncoder:
    """The vector (1,): the share of the picture that moves, mean over the window, 0 to 1.

    By motion vectors where most frames have them (model ``moving-share@1``), else by luma that changes between frames
    (``changing-share@1``). A window with one picture has a feed that sleeps: 0, nothing moves. About 0.1 ms per window.
    """

    channel: ClassVar[Channel] = Channel(
        name="activity",
        modality="picture",
        normality="value",
        density=False,
        weight=0.25,
        by_hour=True,
        aspect="activity",
    )

    def __init__(self) -> None:
        self.model = "moving-share@1"
        self.dim = 1
        self._known: dict[int, tuple[UInt8, Float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is known: it goes by the identity of arrays, which another process has not."""
        return {**self.__dict__, "_known": {}}

    def encode(self, window: Window) -> Embedding | None:
        """None without frames."""
        frames = window.frames
        if not frames:
            return None
        fields = [frame.motion for frame in frames if frame.motion is not None]
        if fields and 2 * len(fields) >= len(frames):
            self.model = "moving-share@1"
            shares = [float((np.hypot(field[..., 0], field[..., 1]) > MOVING).mean()) for field in fields]
        else:
            if len(frames) > 1:  # alone: the key frame of a feed that sleeps, which has no vectors whatever the codec
                self.model = "changing-share@1"
            shares = self._changing(frames)
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=np.array([sum(shares) / max(1, len(shares))], np.float32),
            model=self.model,
        )

    def _changing(self, frames: Sequence[Frame]) -> list[float]:
        known = {id(f.luma): self._known.get(id(f.luma)) or (f.luma, area_reduced(f.luma, *GRID)) for f in frames}
        self._known = known
        shares = []
        for before, now in itertools.pairwise(frames):
            if now.start_s - before.start_s > MAX_PAIR_S:
                continue
            change = known[id(now.luma)][1] - known[id(before.luma)][1]
            shares.append(float((np.abs(change - np.median(change)) > CHANGED).mean()))
        return shares
