"""What scenes sound like: beds of fresh coloured noise, and single sounds mixed over them.

Nothing is looped: a looped bed would repeat itself exactly in a detector's memory, and every live
second would then look new.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np

from mmstream.types import Float32, Float64

SAMPLE_RATE_HZ = 16_000
_BLOCK = 4096
Spectrum = Callable[[Float64], Float64]
"""Frequencies in Hz -> relative amplitude."""


def band(low_hz: float, high_hz: float, slope: float = 2.0) -> Spectrum:
    """Flat between the corners, falling with ``f ** -slope`` outside them."""

    def amplitude(frequency_hz: Float64) -> Float64:
        f = np.maximum(frequency_hz, 1.0)
        return np.minimum(1.0, np.minimum((f / low_hz) ** slope, (high_hz / f) ** slope))

    return amplitude


def pink(low_hz: float, high_hz: float) -> Spectrum:
    """Amplitude falling with the root of the frequency inside the band: traffic, wind, crowds."""
    inside = band(low_hz, high_hz)
    return lambda frequency_hz: inside(frequency_hz) / np.sqrt(np.maximum(frequency_hz, low_hz))


class ColouredNoise:
    """Endless noise of a given spectrum and level: random spectra, overlapped with a sine window."""

    def __init__(self, rng: np.random.Generator, spectrum: Spectrum, level: float) -> None:
        frequencies = _frequencies_hz(_BLOCK)
        amplitude = spectrum(frequencies)
        amplitude[0] = amplitude[-1] = 0.0
        # Parseval: the rms of irfft(z * a) for unit complex normal z is sqrt(2 sum a^2) / N
        self._amplitude = amplitude * (level * _BLOCK / math.sqrt(2.0 * float(np.sum(amplitude**2))))
        self._window = np.sin(np.pi * (np.arange(_BLOCK) + 0.5) / _BLOCK)
        self._rng = rng
        self._half: Float64 = np.zeros(_BLOCK // 2)
        self._ready: Float64 = np.zeros(0)

    def take(self, n: int) -> Float64:
        pieces, num_ready = [self._ready], len(self._ready)
        while num_ready < n:
            pieces.append(self._next())
            num_ready += _BLOCK // 2
        joined = np.concatenate(pieces)
        self._ready = joined[n:]
        return joined[:n]

    def _next(self) -> Float64:
        bins = len(self._amplitude)
        normal = self._rng.standard_normal((2, bins))
        spectrum = (normal[0] + 1j * normal[1]) * (self._amplitude / math.sqrt(2.0))
        block = np.fft.irfft(spectrum, _BLOCK) * self._window
        ready = self._half + block[: _BLOCK // 2]
        self._half = block[_BLOCK // 2 :]
        return ready


class Swell:
    """A level that wanders slowly around 1, as weather and distance make it: three slow sines in dB."""

    def __init__(self, rng: np.random.Generator, depth_db: float, fastest_s: float = 6.0) -> None:
        self._periods_s = fastest_s * np.array([1.0, 2.9, 7.3]) * rng.uniform(0.9, 1.1, 3)
        self._phases = rng.uniform(0.0, 2.0 * np.pi, 3)
        self._depth_db = depth_db

    def __call__(self, at_s: Float64) -> Float64:
        sines = np.sin(2.0 * np.pi * at_s[:, None] / self._periods_s + self._phases).sum(axis=1) / math.sqrt(1.5)
        gain: Float64 = 10.0 ** (self._depth_db * sines / 20.0)
        return gain


class SoundTrack(ABC):
    """The sound of a scene, made second by second, so that it does not depend on how it is read."""

    sample_rate_hz: ClassVar[int] = SAMPLE_RATE_HZ

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.default_rng(seed)
        self._made: Float64 = np.zeros(0)
        self._made_from = 0
        self._tail: Float64 = np.zeros(0)

    def samples(self, start: int, n: int) -> Float32:
        """(n,) from sample ``start`` on; ``start`` may only grow."""
        while self._made_from + len(self._made) < start + n:
            second = (self._made_from + len(self._made)) // SAMPLE_RATE_HZ
            self._made = np.concatenate([self._made, self._second(second)])
        self._made, self._made_from = self._made[start - self._made_from :], start
        return np.clip(self._made[:n], -0.98, 0.98).astype(np.float32)

    def _second(self, second: int) -> Float64:
        times_s = second + np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
        mixed = np.zeros(max(SAMPLE_RATE_HZ, len(self._tail)))
        mixed[:SAMPLE_RATE_HZ] += self._bed(times_s)
        mixed[: len(self._tail)] += self._tail
        for start_s, waveform in self._singles(float(second)):
            first = round((start_s - second) * SAMPLE_RATE_HZ)
            if first + len(waveform) > len(mixed):
                mixed = np.concatenate([mixed, np.zeros(first + len(waveform) - len(mixed))])
            mixed[first : first + len(waveform)] += waveform
        self._tail = mixed[SAMPLE_RATE_HZ:]
        return mixed[:SAMPLE_RATE_HZ]

    @abstractmethod
    def _bed(self, times_s: Float64) -> Float64:
        """One second of what is always there."""

    @abstractmethod
    def _singles(self, second: float) -> Iterable[tuple[float, Float64]]:
        """(start, waveform) of every single sound that starts in ``[second, second + 1)``."""


class Silence(SoundTrack):
    """A camera without a microphone."""

    def _bed(self, times_s: Float64) -> Float64:
        return np.zeros(len(times_s))

    def _singles(self, _second: float) -> Iterable[tuple[float, Float64]]:
        return ()


def _frequencies_hz(n: int) -> Float64:
    return np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE_HZ).astype(np.float64)


def _times(duration_s: float) -> Float64:
    return np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def noise(rng: np.random.Generator, spectrum: Spectrum, n: int) -> Float64:
    """n samples of coloured noise of rms about 1."""
    padded = -(-n // _BLOCK) * _BLOCK  # an FFT of a prime length takes a hundred times as long
    white = np.fft.rfft(rng.standard_normal(padded))
    coloured: Float64 = np.fft.irfft(white * spectrum(_frequencies_hz(padded)), padded)[:n]
    return coloured / max(1e-9, float(np.std(coloured)))


def swish(rng: np.random.Generator, *, duration_s: float, low_hz: float, high_hz: float, level: float) -> Float64:
    """Something rolling past: noise that rises and falls."""
    t = _times(duration_s)
    shape: Float64 = level * np.sin(np.pi * t / duration_s) ** 2
    return shape * noise(rng, pink(low_hz, high_hz), len(t))


def beep(frequency_hz: float, *, duration_s: float, level: float) -> Float64:
    t = _times(duration_s)
    edges = np.minimum(1.0, np.minimum(t, duration_s - t) / 0.01)
    return level * edges * (np.sin(2 * np.pi * frequency_hz * t) + 0.3 * np.sin(6 * np.pi * frequency_hz * t))


def knock(rng: np.random.Generator, *, level: float) -> Float64:
    """A pallet put down, a door: a short dull blow."""
    t = _times(0.25)
    tone = np.sin(2 * np.pi * float(rng.uniform(90, 160)) * t)
    return level * np.exp(-t / 0.05) * (tone + 0.5 * noise(rng, band(150, 1200), len(t)))


def rollers(rng: np.random.Generator, *, duration_s: float, level: float) -> Float64:
    """Wheels over a dock plate: rumble with a rattle of about 14 blows a second."""
    t = _times(duration_s)
    rattle = 0.55 + 0.45 * np.sign(np.sin(2 * np.pi * float(rng.uniform(12, 16)) * t))
    edges = np.minimum(1.0, np.minimum(t, duration_s - t) / 0.2)
    return level * edges * rattle * noise(rng, pink(120, 2200), len(t))


def crash(rng: np.random.Generator, *, level: float) -> Float64:
    """An impact, glass and a ring of metal: all frequencies at once, gone after a second and a half."""
    t = _times(1.6)
    blow = 1.6 * np.exp(-t / 0.06) * noise(rng, band(40, 7000, 1.0), len(t))
    glass = 0.7 * np.exp(-t / 0.28) * noise(rng, band(2500, 7500), len(t)) * (1 + 0.8 * rng.standard_normal(len(t)))
    partials_hz = float(rng.uniform(480, 620)) * np.array([1.0, 2.76, 5.40, 8.93])  # a free bar's partials
    decays = np.array([2.2, 3.1, 4.0, 4.9])
    ring = (np.sin(2 * np.pi * partials_hz[:, None] * t) * np.exp(-decays[:, None] * t)).sum(axis=0)
    mixed: Float64 = level * (blow + glass + 0.5 * ring)
    return mixed


def chirps(rng: np.random.Generator, *, level: float) -> Float64:
    """A cricket: a few pulses of a tone near 4.3 kHz, 30 a second."""
    num_pulses = int(rng.integers(3, 6))
    t = _times(num_pulses / 30.0)
    pulses = np.maximum(0.0, np.sin(2 * np.pi * 30.0 * t - np.pi / 2)) ** 0.5
    return level * pulses * np.sin(2 * np.pi * float(rng.normal(4300, 60)) * t)
