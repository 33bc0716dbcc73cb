"""Hours of street sound made from a few real clips, with events in it whose time and loudness are known.

Nothing is repeated as it was: beds are cut into random crops at another speed, the level wanders, wind-like
noise comes and goes, and every placed sound goes through a small room of its own. Ordinary sounds, events and
shams take the same way into the mixture, so that nothing but the kind of sound tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmstream.types import Float32, Float64

RATE_HZ = 16_000
BED_DB = -32.0
"""RMS of the bed before its level wanders; 0 dB = a full-scale square wave."""
CROP_S = (4.0, 12.0)
FADE_S = 0.1
SPEED = 0.06
WANDER_DB = 2.5
WANDER_EVERY_S = 10.0
NOISE_EVERY_S = 20.0
NUM_NOISES = 2
NOISE_DB = (-20.0, -6.0)
"""Each noise relative to the bed."""
ORDINARY_EVERY_S = 30.0
ORDINARY_SNR_DB = (-5.0, 20.0)
EVENT_EVERY_S = 60.0
EVENT_SNRS_DB: Mapping[float, int] = {-5.0: 15, 0.0: 15, 5.0: 10, 10.0: 10, 20.0: 10}
"""Signal to noise ratio -> how many of 60 events have it."""
ROOM_S = 0.3
ROOM_DB = -9.0
"""Reverberation: its length down to -60 dB, and its loudness over the direct sound."""

MAX_KEPT = 48

SoundKind = Literal["ordinary", "event", "sham"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """What a place sounds like. All (n,) mono at `RATE_HZ`."""

    beds: tuple[Float32, ...]
    ordinary: Mapping[str, Float32]
    events: Mapping[str, Float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSound:
    """One sound in the mixture."""

    kind: SoundKind
    name: str
    start_s: float
    end_s: float
    snr_db: float
    """Its RMS over that of the background during it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crop:
    bed: int
    offset_s: float
    speed: float
    start_s: float
    end_s: float


class Composition:
    """``duration_s`` of ``material``, the same for the same ``seed``, rendered piece by piece.

    Ordinary sounds come every `ORDINARY_EVERY_S` at any of `ORDINARY_SNR_DB`. With ``events``, each minute
    holds one event and, in its other half, one sham: an ordinary sound at an event's loudness.
    """

    def __init__(self, material: Material, *, duration_s: float, seed: int, events: bool = False) -> None:
        if duration_s < EVENT_EVERY_S:
            raise ValueError(f"Composition: want duration_s >= {EVENT_EVERY_S:.0f}, got {duration_s}")
        if not material.beds or not material.ordinary or (events and not material.events):
            raise ValueError("Composition: want at least one bed, one ordinary sound and, with events, one event")
        self._material, self._seed = material, seed
        self.duration_s = duration_s
        random = np.random.default_rng([seed, 1])
        self._crops = _plan_crops(material.beds, duration_s, random)
        self._gains_db = _wander(duration_s, random)
        self.placed = tuple(sorted(self._place(events, random), key=lambda sound: sound.start_s))
        self._kept: dict[tuple[str, int], Float32] = {}
        """Pieces as they are added, of the last few only: rendering goes on from where it was."""

    def render(self, start_s: float, end_s: float) -> Float32:
        """-> (n,) the mixture in ``[start_s, end_s)``, in [-1, 1]."""
        samples = self._background(start_s, end_s)
        for number, sound in enumerate(self.placed):
            if sound.start_s < end_s and sound.end_s > start_s:
                _add(samples, self._once("sound", number, self._as_added), _at(sound.start_s) - _at(start_s))
        return np.clip(samples, -1.0, 1.0, out=samples)

    def _once(self, what: str, number: int, make: Callable[[int], Float32]) -> Float32:
        if (what, number) not in self._kept:
            piece = make(number)
            for oldest in list(self._kept)[: len(self._kept) - MAX_KEPT + 1]:
                del self._kept[oldest]
            self._kept[what, number] = piece
        return self._kept[what, number]

    def _as_added(self, number: int) -> Float32:
        sound = self.placed[number]
        return at_snr(self._wet(sound, number), self._background(sound.start_s, sound.end_s), sound.snr_db)

    def _wet(self, sound: PlacedSound, number: int) -> Float32:
        random = np.random.default_rng([self._seed, 2, number])
        clips = self._material.events if sound.kind == "event" else self._material.ordinary
        dry = respeed(clips[sound.name], 1.0 + random.uniform(-SPEED, SPEED))
        return in_room(dry, random)[: _at(sound.end_s) - _at(sound.start_s)]

    def _background(self, start_s: float, end_s: float) -> Float32:
        first, last = _at(start_s), _at(end_s)
        samples = np.zeros(last - first, np.float32)
        for number, crop in enumerate(self._crops):
            if crop.start_s < end_s and crop.end_s > start_s:
                _add(samples, self._once("crop", number, self._cropped), _at(crop.start_s) - first)
        earliest = max(0, int((start_s - FADE_S) // NOISE_EVERY_S))
        for number in range(earliest, int(end_s // NOISE_EVERY_S) + 1):
            _add(samples, self._once("noise", number, self._noise), _at(number * NOISE_EVERY_S) - first)
        times_s = (first + np.arange(last - first)) / RATE_HZ
        knots_s = np.arange(len(self._gains_db)) * WANDER_EVERY_S
        samples *= (10.0 ** (np.interp(times_s, knots_s, self._gains_db) / 20.0)).astype(np.float32)
        return samples

    def _cropped(self, number: int) -> Float32:
        crop = self._crops[number]
        bed = self._material.beds[crop.bed]
        cut = respeed(bed, crop.speed, from_s=crop.offset_s, count=_at(crop.end_s) - _at(crop.start_s))
        return faded(cut * np.float32(10.0 ** (BED_DB / 20.0) / max(rms(bed), 1e-9)))

    def _noise(self, number: int) -> Float32:
        """(n,) of one stretch: noises of random slope, faded at both ends."""
        random = np.random.default_rng([self._seed, 3, number])
        count = _at(NOISE_EVERY_S + FADE_S)
        noise = np.zeros(count, np.float32)
        for _ in range(NUM_NOISES):
            level_db = BED_DB + random.uniform(*NOISE_DB)
            noise += coloured(count, random.uniform(0.0, 1.0), random) * np.float32(10.0 ** (level_db / 20.0))
        return faded(noise)

    def _place(self, events: bool, random: np.random.Generator) -> list[PlacedSound]:
        placed = []
        for start_s in np.arange(0.0, self.duration_s - ORDINARY_EVERY_S + 1e-6, ORDINARY_EVERY_S):
            snr_db = random.uniform(*ORDINARY_SNR_DB)
            placed.append(self._somewhere("ordinary", start_s, ORDINARY_EVERY_S, snr_db, random))
        if events:
            num_events = int(self.duration_s // EVENT_EVERY_S)
            snrs_db = _spread(num_events, random)
            for number in range(num_events):
                start_s, half_s = number * EVENT_EVERY_S, EVENT_EVERY_S / 2
                swap = half_s if random.random() < 0.5 else 0.0
                placed.append(self._somewhere("event", start_s + swap, half_s, snrs_db[0][number], random))
                placed.append(self._somewhere("sham", start_s + half_s - swap, half_s, snrs_db[1][number], random))
        return placed

    def _somewhere(
        self, kind: SoundKind, from_s: float, room_s: float, snr_db: float, random: np.random.Generator
    ) -> PlacedSound:
        clips = self._material.events if kind == "event" else self._material.ordinary
        name = sorted(clips)[int(random.integers(len(clips)))]
        length_s = min(clips[name].size / RATE_HZ, room_s - 4.0)
        start_s = from_s + random.uniform(2.0, room_s - length_s - 2.0 + 1e-3)
        return PlacedSound(kind=kind, name=name, start_s=start_s, end_s=start_s + length_s, snr_db=float(snr_db))


def at_snr(sound: Float32, around: Float32, snr_db: float) -> Float32:
    """``sound`` scaled so that its RMS is ``snr_db`` over that of ``around``."""
    gain = 10.0 ** (snr_db / 20.0) * rms(around) / max(rms(sound), 1e-9)
    return faded(sound * np.float32(gain), fade_s=0.01)


def in_room(sound: Float32, random: np.random.Generator) -> Float32:
    """``sound`` with its reverberation in a small room: noise that dies away by 60 dB in `ROOM_S`."""
    count = round(ROOM_S * RATE_HZ)
    tail = random.normal(0.0, 1.0, count) * 10.0 ** (-3.0 * np.arange(count) / count)
    tail[: round(0.005 * RATE_HZ)] = 0.0
    tail *= 10.0 ** (ROOM_DB / 20.0) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    size = sound.size + count
    wet: Float32 = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size).astype(np.float32)
    return wet[: sound.size]


def respeed(sound: Float32, speed: float, *, from_s: float = 0.0, count: int | None = None) -> Float32:
    """From ``from_s`` on, ``speed`` times as fast and as high; ``count`` samples, or to the end."""
    first = from_s * RATE_HZ
    wanted = int((sound.size - first) / speed) if count is None else count
    places = np.minimum(first + np.arange(wanted) * speed, sound.size - 1.0)
    whole = np.minimum(places.astype(np.intp), sound.size - 2)
    share = (places - whole).astype(np.float32)
    played: Float32 = sound[whole] * (1 - share) + sound[whole + 1] * share
    return played


def coloured(count: int, slope: float, random: np.random.Generator) -> Float32:
    """(count,) noise whose amplitude falls as frequency to the power ``-slope`` above 50 Hz; RMS 1."""
    frequency_hz = np.maximum(np.fft.rfftfreq(count, 1.0 / RATE_HZ), 50.0)
    spectrum = np.fft.rfft(random.normal(0.0, 1.0, count)) * frequency_hz**-slope
    noise = np.fft.irfft(spectrum, count)
    level: Float32 = (noise / np.sqrt(np.square(noise).mean())).astype(np.float32)
    return level


def faded(samples: Float32, fade_s: float = FADE_S) -> Float32:
    """Rising from and falling to silence, so that no edge clicks; two that overlap keep their power."""
    count = min(round(fade_s * RATE_HZ), samples.size // 2)
    ramp = np.sqrt(np.arange(count) / max(1, count)).astype(np.float32)
    shaped = samples.copy()
    shaped[:count] *= ramp
    shaped[shaped.size - count :] *= ramp[::-1]
    return shaped


def rms(samples: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


def _at(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def _add(samples: Float32, piece: Float32, at: int) -> None:
    """Add ``piece`` to ``samples`` from number ``at`` on, as far as it overlaps."""
    first, last = max(at, 0), min(at + piece.size, samples.size)
    if first < last:
        samples[first:last] += piece[first - at : last - at]


def _plan_crops(beds: Sequence[Float32], duration_s: float, random: np.random.Generator) -> list[_Crop]:
    crops: list[_Crop] = []
    start_s = 0.0
    while start_s < duration_s:
        bed = int(random.integers(len(beds)))
        speed = 1.0 + random.uniform(-SPEED, SPEED)
        longest_s = beds[bed].size / RATE_HZ / speed
        length_s = min(random.uniform(*CROP_S), longest_s)
        offset_s = random.uniform(0.0, max(0.0, (longest_s - length_s) * speed))
        crops.append(_Crop(bed=bed, offset_s=offset_s, speed=speed, start_s=start_s, end_s=start_s + length_s))
        start_s += length_s - FADE_S
    return crops


def _wander(duration_s: float, random: np.random.Generator) -> Float64:
    """Level in dB every `WANDER_EVERY_S`: wanders with a memory of about two minutes, sd `WANDER_DB`."""
    keep = float(np.exp(-WANDER_EVERY_S / 120.0))
    level_db = random.normal(0.0, WANDER_DB)
    levels_db = []
    for _ in range(int(duration_s / WANDER_EVERY_S) + 2):
        levels_db.append(level_db)
        level_db = keep * level_db + np.sqrt(1.0 - keep**2) * random.normal(0.0, WANDER_DB)
    return np.array(levels_db)


def _spread(count: int, random: np.random.Generator) -> tuple[Float64, Float64]:
    """Twice ``count`` ratios in the shares of `EVENT_SNRS_DB`, each in an order of its own."""
    all_db = np.repeat(list(EVENT_SNRS_DB), list(EVENT_SNRS_DB.values()))
    chosen = np.resize(random.permutation(all_db), count)
    return random.permutation(chosen), random.permutation(chosen)
