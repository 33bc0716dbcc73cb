"""How much faster something moves than things that look like it: a cyclist among walkers, not a car on the road.

Appearance says what to expect: a small network, trained on this camera's own normal minutes, gives for every cell a
Laplace distribution of the speed there. What is measured is compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmstream.encoders.expectation_input import MOVING, SPEED_UNIT, Background, as_seen, speeds_of
from mmstream.encoders.expectation_net import TrainedNet
from mmstream.encoders.motion import box_means, trailing_means
from mmstream.stages import EdgeEncoder
from mmstream.types import Channel, Embedding, Float32, Frame, UInt8, Where, Window

ORDINARY = 3.0
"""Added to the log likelihood ratio, so that an ordinary cell comes out near 0."""
TRAILING_S = 0.5
BOX_SHARE = 0.1
"""Of the picture's width: an object of ordinary size."""
OTHER_LIGHT = 25
"""Levels: half of the picture differs by more than this from the background of the training."""

Moment = tuple[float, ...]
"""Of one picture, what the vector promises of a window."""


class ExpectationEncoder:
    """Surprise at speeds, given what is seen; None, and nothing computed, while the camera has no weights.

    Per cell that moves: ``max(0, max(speed - expected, 0) / scale + log(scale) + 3)``, the one-sided negative log
    likelihood of a Laplace distribution; its mean over a square box of ``box_share`` of the picture's width; the
    largest box. Slower than expected is never a surprise: who stops is not seen here.

    The vector (7,): 0 surprise (trailing mean of 0.5 s, largest in the window); 1, 2 centre of the most surprising
    box and 3, 4 its size, as shares of width and height; 5 mean speed and 6 mean expected speed in it, in
    thousandths of the picture's width per 0.1 s.

    Needs `Frame.motion`. 3 ms per picture and core, of which each is measured once.
    """

    channel: ClassVar[Channel] = Channel(
        name="expectation", modality="picture", normality="value", density=False, aspect="movement"
    )

    def __init__(
        self,
        *,
        weights: TrainedNet | bytes | Path | str | None = None,
        version: str = "",
        box_share: float = BOX_SHARE,
    ) -> None:
        """``weights``: what `TrainedNet.save` gave, as bytes or in a file; None or "": not trained yet. ``version``:
        of the weights in the registry, for the name of the model; empty: told by the weights themselves.

        Raises:
            ConfigError: the file cannot be read or holds other weights.
        """
        if not 0.0 < box_share <= 1.0:
            raise ValueError(f"ExpectationEncoder: want box_share in (0, 1], got {box_share}")
        self._net = weights if isinstance(weights, TrainedNet) else TrainedNet.load(weights) if weights else None
        self.model = "expectation@untrained"
        if self._net is not None:
            self.model = f"expectation@{version}" if version else self._net.model
        self.dim = 7
        self._box_share = box_share
        self._background: Background | None = None
        self._known: dict[int, tuple[UInt8, Moment | None]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is known: it goes by the identity of arrays, which another process has not."""
        return {**self.__dict__, "_known": {}}

    def encode(self, window: Window) -> Embedding | None:
        """None without weights, and where fewer than half of the pictures have motion vectors."""
        if self._net is None:
            return None
        found = [(frame.start_s, moment) for frame, moment in self._recall(window.frames) if moment is not None]
        if not found or 2 * len(found) < len(window.frames):
            return None
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=pooled([at_s for at_s, _ in found], [moment for _, moment in found]),
            model=self.model,
        )

    def succeed(self, other: EdgeEncoder, /) -> None:
        """Other weights, the same camera: what stands still there is known already."""
        if isinstance(other, ExpectationEncoder) and self._net is not None and other._background is not None:
            self._background = other._background

    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:  # noqa: ARG004 (values have no neighbours)
        """The most surprising box; None when nothing in the window was a surprise."""
        surprise, x, y, width, height = (float(number) for number in vector[:5])
        if surprise <= 0.0:
            return None
        left, top = max(0.0, x - width / 2), max(0.0, y - height / 2)
        return Where(region=(left, top, min(1.0, x + width / 2), min(1.0, y + height / 2)))

    def _recall(self, frames: tuple[Frame, ...]) -> list[tuple[Frame, Moment | None]]:
        """Each picture's moment; a picture lies in two windows and is measured once.

        The arrays are kept with what was found, so that no other array can have their identity.
        """
        known: dict[int, tuple[UInt8, Moment | None]] = {}
        for frame in frames:
            key = id(frame.luma)
            known[key] = self._known.get(key) or (frame.luma, self._measure(frame))
        self._known = known
        return [(frame, known[id(frame.luma)][1]) for frame in frames]

    def _measure(self, frame: Frame) -> Moment | None:
        assert self._net is not None
        if self._background is None:
            self._background = Background(_first_background(self._net.background, frame.luma))
        background = self._background.push(frame.luma)
        speeds = speeds_of(frame)
        return None if speeds is None else moment_of(self._net, frame.luma, background, speeds, self._box_share)


def _first_background(learned: UInt8, luma: UInt8) -> UInt8:
    """That of the training, unless the light is another one now: it would be minutes until every pixel had followed,
    and until then everything would look as if it stood out."""
    if learned.shape != luma.shape or np.median(np.abs(luma.astype(np.int16) - learned)) > OTHER_LIGHT:
        return luma
    return learned


def moment_of(net: TrainedNet, luma: UInt8, background: UInt8, speeds: Float32, box_share: float) -> Moment:
    """What one picture shows: (H, W), (H, W), (rows, cols) -> the strongest box."""
    if not (speeds > MOVING).any():
        return (0.0, 0.5, 0.5, 1.0, 1.0, 0.0, 0.0)
    expected, scale = net.expect(as_seen(luma.astype(np.float32), background.astype(np.float32)))
    size = max(1, round(box_share * speeds.shape[1]))
    rows, cols = min(size, speeds.shape[0]), min(size, speeds.shape[1])
    boxes = box_means(surprise_of(speeds, expected, scale), size)
    top, left = (int(at) for at in np.unravel_index(boxes.argmax(), boxes.shape))
    inside = slice(top, top + rows), slice(left, left + cols)
    return (
        float(boxes[top, left]),
        (left + cols / 2) / speeds.shape[1],
        (top + rows / 2) / speeds.shape[0],
        cols / speeds.shape[1],
        rows / speeds.shape[0],
        float(speeds[inside].mean()) / SPEED_UNIT,
        float(expected[inside].mean()) / SPEED_UNIT,
    )


def pooled(times_s: Sequence[float], moments: Sequence[Moment]) -> Float32:
    """(7,) what `ExpectationEncoder` promises of a window, from its pictures' moments in the order of time."""
    surprises = [moment[0] for moment in moments]
    vector = np.array(moments[surprises.index(max(surprises))], np.float32)
    vector[0] = max(trailing_means(times_s, surprises, TRAILING_S))
    return vector


def surprise_of(speeds: Float32, expected: Float32, scale: Float32) -> Float32:
    """(rows, cols) each -> the same of surprise, 0 where nothing moves or it moves no faster than expected."""
    beyond = np.maximum(speeds - expected, 0.0) / scale + np.log(scale) + np.float32(ORDINARY)
    surprise: Float32 = np.where(speeds > MOVING, np.maximum(beyond, 0.0), 0.0).astype(np.float32)
    return surprise
