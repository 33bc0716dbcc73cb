"""Made-up events with a known truth: what was recorded, changed so that something unusual is in it.

A trial asks a model to find them. Their strength is drawn so widely that an ordinary model finds some and misses
some: only then do two models differ. Everything follows from the generator that is given, so that both sides of a
comparison meet the same events.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.encoders.expectation_input import MOVING
from mmstream.training.footage import Burst, Glimpse, MotionSample
from mmstream.types import Float32, UInt8

Inject = Callable[[Burst, Sequence[Burst], np.random.Generator], Burst | None]
"""(a normal burst, others to take things from, generator) -> the burst with an event in it; None: it cannot hold one
of this kind (no picture, no sound, nothing moves)."""

PATCH_SHARE = (0.10, 0.28)
"""Side of a pasted thing, as a share of the picture's."""
OPACITY = (0.35, 1.0)
STEP_SHARE = (0.02, 0.09)
"""How far it goes in a second, as a share of the picture's side."""
FEATHER_SHARE = 0.2
"""Of a patch's side: its soft edge, which no codec's block and no cut looks like."""
VISIBLE = 6.0
"""Levels on average over the patch: less than this is no event for anybody."""
TRIES = 8
SOUND_GAIN_DB = (-9.0, 6.0)
NOISE_GAIN_DB = (-3.0, 12.0)
NOISE_S = (0.15, 0.6)
NOISE_BANDS = (12, 40)
SPEED_FACTOR = (1.15, 3.0)
BOX_SHARE = 0.12
"""Of the width: an object of ordinary size."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
NEPERS = math.log(10.0) / 10.0
"""Natural logarithms of power per decibel."""


def object_passes(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator) -> Burst | None:
    """Something cut out of another picture goes through this one."""
    return _pasted(burst, donors, rng, moving=True)


def object_stays(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator) -> Burst | None:
    """Something cut out of another picture stands in this one."""
    return _pasted(burst, donors, rng, moving=False)


def other_sound(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator) -> Burst | None:
    """What was heard at another moment is heard here, too, from 9 dB quieter to 6 dB louder than it was."""
    heard = [donor for donor in donors if donor.start_s != burst.start_s and _mels(donor)]
    if not heard or not _mels(burst):
        return None
    mels = _mels(heard[int(rng.integers(len(heard)))])
    gain = NEPERS * rng.uniform(*SOUND_GAIN_DB)

    def louder(number: int, glimpse: Glimpse) -> Glimpse:
        if glimpse.mel is None:
            return glimpse
        return dataclasses.replace(glimpse, mel=_added(glimpse.mel, mels[number % len(mels)] + gain))

    return _with_glimpses(burst, louder)


def noise(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator) -> Burst | None:
    """A short noise in some bands, from 3 dB below to 12 dB above what is loud there."""
    del donors
    if not _mels(burst):
        return None
    start_s, end_s = burst.start_s, burst.end_s
    at_s = rng.uniform(start_s + 0.3, end_s - 0.9)
    until_s = at_s + rng.uniform(*NOISE_S)
    gain = NEPERS * rng.uniform(*NOISE_GAIN_DB)
    num_bands = int(rng.integers(*NOISE_BANDS))
    first_band = int(rng.integers(0, _mels(burst)[0].shape[0] - num_bands))

    def struck(_: int, glimpse: Glimpse) -> Glimpse:
        if glimpse.mel is None:
            return glimpse
        num_frames = glimpse.mel.shape[1]
        per_s = num_frames / (glimpse.end_s - glimpse.start_s)
        first, last = ((moment - glimpse.start_s) * per_s for moment in (at_s, until_s))
        frames = slice(max(0, round(first)), min(num_frames, round(last)))
        if frames.start >= frames.stop:
            return glimpse
        bands = slice(first_band, first_band + num_bands)
        mel = glimpse.mel.copy()
        loud = np.quantile(glimpse.mel[bands], 0.9, axis=1, keepdims=True)
        mel[bands, frames] = _added(mel[bands, frames], np.broadcast_to(loud + gain, mel[bands, frames].shape))
        return dataclasses.replace(glimpse, mel=mel)

    return _with_glimpses(burst, struck)


def faster(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator) -> Burst | None:
    """The fastest thing goes 1.15 to 3 times as fast, and looks as it did."""
    del donors
    factor = np.float32(rng.uniform(*SPEED_FACTOR))
    if not any((sample.speeds > MOVING).any() for sample in burst.motion):
        return None

    def quicker(sample: MotionSample) -> MotionSample:
        rows, cols = sample.speeds.shape
        half = max(1, round(BOX_SHARE * cols / 2))
        row, col = np.unravel_index(int(sample.speeds.argmax()), (rows, cols))
        box = slice(max(0, int(row) - half), int(row) + half), slice(max(0, int(col) - half), int(col) + half)
        speeds = sample.speeds.copy()
        speeds[box] *= factor
        return dataclasses.replace(sample, speeds=speeds)

    return dataclasses.replace(burst, motion=tuple(quicker(sample) for sample in burst.motion))


def other_look(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator) -> Burst | None:
    """What moves as it did looks like what was there at another moment: nothing, or something else."""
    shape = burst.motion[0].luma.shape if burst.motion else ()
    looks = [
        sample
        for donor in donors
        if donor.feed_id == burst.feed_id and donor.start_s != burst.start_s
        for sample in donor.motion
        if sample.luma.shape == shape
    ]
    if not looks or not any((sample.speeds > MOVING).any() for sample in burst.motion):
        return None
    look = looks[int(rng.integers(len(looks)))]
    motion = tuple(dataclasses.replace(s, luma=look.luma, background=look.background) for s in burst.motion)
    return dataclasses.replace(burst, motion=motion)


EVENTS: dict[str, Inject] = {
    "object_passes": object_passes,
    "object_stays": object_stays,
    "other_sound": other_sound,
    "noise": noise,
    "faster": faster,
    "other_look": other_look,
}
"""What a `training.trainee.ModelKind` can ask to be tried on."""


def seen_again(burst: Burst, rng: np.random.Generator) -> Burst:
    """The same thing on another day: a little brighter or darker, louder or quieter, with noise of its own."""
    light = rng.uniform(-6.0, 6.0)
    gain = np.float32(NEPERS * rng.uniform(-1.0, 1.0))

    def changed(_: int, glimpse: Glimpse) -> Glimpse:
        picture, mel = glimpse.picture, glimpse.mel
        if picture is not None:
            picture = _to_uint8(picture + light + rng.normal(0.0, 2.0, picture.shape))
        if mel is not None:
            mel = mel + gain + rng.normal(0.0, 0.05, mel.shape).astype(np.float32)
        return dataclasses.replace(glimpse, picture=picture, mel=mel)

    return _with_glimpses(burst, changed)


def as_seen_in(burst: Burst, changed: Burst) -> Burst:
    """What comes into an infrared picture has no colour there: else any model finds it by that alone."""

    def grey(number: int, glimpse: Glimpse) -> Glimpse:
        if glimpse.picture is None or burst.glimpses[number].mode != "infrared":
            return glimpse
        luma = (glimpse.picture.astype(np.float32) @ LUMA).round().astype(np.uint8)
        return dataclasses.replace(glimpse, picture=np.repeat(luma[..., None], 3, axis=2))

    return _with_glimpses(changed, grey)


def _pasted(burst: Burst, donors: Sequence[Burst], rng: np.random.Generator, *, moving: bool) -> Burst | None:
    seen = [glimpse.picture for glimpse in burst.glimpses if glimpse.picture is not None]
    others = [
        glimpse.picture
        for donor in donors
        if donor.start_s != burst.start_s or donor.feed_id != burst.feed_id
        for glimpse in donor.glimpses[:1]
        if glimpse.picture is not None
    ]
    if not seen or not others:
        return None
    side = seen[0].shape[0]
    for _ in range(TRIES):
        size = max(6, round(side * rng.uniform(*PATCH_SHARE)))
        opacity = rng.uniform(*OPACITY) * _soft_square(size)
        from_row, from_col, row, col = (int(at) for at in rng.integers(0, side - size, 4))
        thing = others[int(rng.integers(len(others)))][from_row : from_row + size, from_col : from_col + size]
        angle, pace = rng.uniform(0.0, 2.0 * math.pi), side * rng.uniform(*STEP_SHARE)
        step = (pace * math.sin(angle), pace * math.cos(angle)) if moving else (0.0, 0.0)
        there = seen[0][row : row + size, col : col + size]
        if np.abs(opacity * (thing.astype(np.float32) - there)).mean() >= VISIBLE:
            break
    else:
        return None

    def with_thing(number: int, glimpse: Glimpse) -> Glimpse:
        if glimpse.picture is None:
            return glimpse
        top, left = (
            int(np.clip(round(at + number * d), 0, side - size)) for at, d in zip((row, col), step, strict=True)
        )
        picture = glimpse.picture.astype(np.float32)
        area = picture[top : top + size, left : left + size]
        area += opacity * (thing - area)
        return dataclasses.replace(glimpse, picture=_to_uint8(picture))

    return _with_glimpses(burst, with_thing)


def _soft_square(size: int) -> Float32:
    """(size, size, 1): 1 inside, falling to the edges."""
    from_edge = (np.minimum(np.arange(size), np.arange(size)[::-1]) + 1.0) / max(1.0, FEATHER_SHARE * size)
    ramp = np.minimum(1.0, from_edge).astype(np.float32)
    return np.outer(ramp, ramp)[:, :, None]


def _added(mel: Float32, other: Float32) -> Float32:
    """Powers add, logarithms of them do not."""
    together: Float32 = np.logaddexp(mel, other).astype(np.float32)
    return together


def _mels(burst: Burst) -> list[Float32]:
    return [glimpse.mel for glimpse in burst.glimpses if glimpse.mel is not None]


def _with_glimpses(burst: Burst, change: Callable[[int, Glimpse], Glimpse]) -> Burst:
    glimpses = tuple(change(number, glimpse) for number, glimpse in enumerate(burst.glimpses))
    return dataclasses.replace(burst, glimpses=glimpses)


def _to_uint8(picture: npt.NDArray[Any]) -> UInt8:
    clipped: UInt8 = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return clipped
