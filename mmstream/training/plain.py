"""What a site measures without any model of its own, as near as footage shows it: the ground both sides stand on.

A trial asks whether a model adds something to what the edge encoders see and hear already. Footage has less than
they are given on live windows: one small picture per window (no median over five), no directions of motion, log-mel
bands instead of samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mmstream.encoders.appearance import AppearanceEncoder
from mmstream.encoders.expectation_input import SPEED_UNIT
from mmstream.encoders.motion import MotionEncoder
from mmstream.training.footage import Burst, Glimpse, MotionSample
from mmstream.types import Channel, Embedding, Float32, Frame, Window

SOUND = Channel(name="sound", modality="sound", normality="bank", density=True)
"""A bank: what the live channel's `joint` wants to know of the last minute, bursts do not show."""
CHANNELS: Mapping[str, Channel] = {
    channel.name: channel for channel in (AppearanceEncoder.channel, MotionEncoder.channel, SOUND)
}
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
STEP_S = 0.1
SOUND_MODEL = "footage-pools@1"


def plain(burst: Burst) -> list[list[Embedding]]:
    """Per glimpse: appearance of its picture, motion of its samples, pools of its sound; what is missing is absent."""
    appearance, motion = AppearanceEncoder(), MotionEncoder()
    return [
        [
            embedding
            for embedding in (
                appearance.encode(_seen(burst.feed_id, glimpse)),
                motion.encode(_moved(burst, glimpse)),
                _heard(burst.feed_id, glimpse),
            )
            if embedding is not None
        ]
        for glimpse in burst.glimpses
    ]


def _seen(feed_id: str, glimpse: Glimpse) -> Window:
    frames: tuple[Frame, ...] = ()
    if glimpse.picture is not None:
        red, _, blue = glimpse.picture.reshape(-1, 3).mean(axis=0)
        luma = (glimpse.picture @ LUMA).astype(np.uint8)
        middle = float(luma.mean())
        # ITU-R BT.601: how far blue and red are from the luma
        chroma = (128.0 + 0.564 * (float(blue) - middle), 128.0 + 0.713 * (float(red) - middle))
        frames = (_frame(feed_id, glimpse.start_s, luma=luma, chroma=chroma),)
    return Window(feed_id=feed_id, start_s=glimpse.start_s, end_s=glimpse.end_s, frames=frames)


def _moved(burst: Burst, glimpse: Glimpse) -> Window:
    inside: Sequence[MotionSample] = [s for s in burst.motion if glimpse.start_s <= s.at_s < glimpse.end_s]
    frames = []
    for sample in inside:
        motion = np.zeros((*sample.speeds.shape, 2), np.float32)
        motion[..., 0] = sample.speeds / np.float32(SPEED_UNIT)
        frames.append(_frame(burst.feed_id, sample.at_s, luma=sample.luma, motion=motion))
    if len(frames) == 1:  # footage often has one where the encoder wants two
        frames.append(
            dataclasses.replace(frames[0], start_s=frames[0].start_s + STEP_S, end_s=frames[0].end_s + STEP_S)
        )
    return Window(feed_id=burst.feed_id, start_s=glimpse.start_s, end_s=glimpse.end_s, frames=tuple(frames))


def _heard(feed_id: str, glimpse: Glimpse) -> Embedding | None:
    """Mean, 90 % quantile and maximum of each band, in dB: short sounds count, as in `encoders.sound`."""
    if glimpse.mel is None:
        return None
    pools = [glimpse.mel.mean(axis=1), np.quantile(glimpse.mel, 0.9, axis=1), glimpse.mel.max(axis=1)]
    vector: Float32 = (np.concatenate(pools) * (10.0 / math.log(10.0))).astype(np.float32)
    return Embedding(
        feed_id=feed_id,
        start_s=glimpse.start_s,
        end_s=glimpse.end_s,
        channel=SOUND.name,
        vector=vector,
        model=SOUND_MODEL,
    )


def _frame(
    feed_id: str,
    at_s: float,
    *,
    luma: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    chroma: tuple[float, float] = (128.0, 128.0),
    motion: Float32 | None = None,
) -> Frame:
    return Frame(feed_id=feed_id, start_s=at_s, end_s=at_s, is_key=False, luma=luma, chroma=chroma, motion=motion)
