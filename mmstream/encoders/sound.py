"""What the feed sounds like: log-mel bands, pooled so that something short still counts.

Follows TWFR (Guan et al., "Time-weighted frequency domain audio representation with GMM estimator
for anomalous sound detection", ICASSP 2023) with the level kept: loudness is information.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mmstream.encoders.last_minute import LastMinute
from mmstream.types import Channel, Embedding, Float32, Float64, Where, Window

NUM_BANDS = 64
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0
FRAME_S, HOP_S = 0.064, 0.02
"""1024 samples every 320 at 16 kHz."""
GWRP_R = 0.9
FLOOR = 1e-10
"""-100 dB: below the noise of any microphone, so that silence is a number."""
GAP_BLOCK_S, GAP_BLOCKS = 0.01, 5
"""So many blocks of exact zeros in a row are a gap that was filled, not a quiet moment."""


POOLS = 3 * NUM_BANDS + 3
"""Numbers that describe one window."""
GWRP = slice(NUM_BANDS, 2 * NUM_BANDS)
STANDS_OUT_DB = 3.0
"""A band that differs by less says nothing about where a sound is."""


class SoundEncoder:
    """The vector (390,), all in dB, 0 dB = a sine at full scale; one per window, 1.0 ms of one core each:

    0..63 mean over time per band; 64..127 GWRP: frames sorted from loud to quiet, weighted 0.9^n, so
    a sound of 0.2 s decides; 128..191 maximum; 192 level (RMS) of the window; 193 crest factor (peak
    over RMS); 194 flux: mean rise of a band from frame to frame; 195..389 the same less the
    median of the same over the last minute (`LastMinute`).

    Frames that touch a filled gap (50 ms or more of exact zeros) are left out, unless fewer than a
    quarter would remain: the edge of a gap would sound like a click. What a telephone codec cuts off
    stays at the floor, -100 dB.
    """

    channel: ClassVar[Channel] = Channel(name="sound", modality="sound", normality="joint", density=True)

    def __init__(self) -> None:
        self.model = "log-mel-pools@2"
        self.dim = 2 * POOLS
        self._analysis: _Analysis | None = None
        self._last_minute = LastMinute()

    def encode(self, window: Window) -> Embedding | None:
        """None without sound, or with less than a tenth of a second of it.

        Raises:
            ValueError: fewer than 16000 samples a second.
        """
        if window.samples.size < 0.1 * max(1, window.sample_rate_hz):
            return None
        if self._analysis is None or self._analysis.rate_hz != window.sample_rate_hz:
            self._analysis = _Analysis(window.sample_rate_hz)
        now = self._describe(self._analysis, window)
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=np.concatenate([now, now - self._last_minute.usual(now, window.end_s)]),
            model=self.model,
        )

    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:
        """The band around the one that is loudest against ``usual`` (None: against the last minute); where nothing
        is louder, around the one that is missing most. None when no band differs by 3 dB."""
        excess = vector[GWRP] - usual[GWRP] if usual is not None else vector[POOLS:][GWRP]
        if excess.max() < STANDS_OUT_DB:
            excess = -excess
        smooth = np.convolve(np.pad(excess, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
        peak = int(smooth.argmax())
        if smooth[peak] < STANDS_OUT_DB:
            return None
        outside = np.flatnonzero(smooth < max(STANDS_OUT_DB, float(smooth[peak]) / 2.0))
        first = int(outside[outside < peak].max(initial=-1)) + 1
        last = int(outside[outside > peak].min(initial=NUM_BANDS)) - 1
        points = mel_points()
        return Where(band_hz=(float(points[first]), float(points[last + 2])))

    def _describe(self, analysis: _Analysis, window: Window) -> Float32:
        samples = window.samples
        bands, heard = analysis.log_mel(samples, window.start_s)
        ordered = np.sort(bands, axis=0)[::-1]
        weights = GWRP_R ** np.arange(len(bands))
        power = float(np.mean(np.square(samples, dtype=np.float64))) / heard
        level = decibels(2.0 * power)
        vector = np.empty(POOLS, np.float32)
        vector[:NUM_BANDS] = bands.mean(axis=0)
        vector[NUM_BANDS : 2 * NUM_BANDS] = np.einsum("t,tb->b", weights / weights.sum(), ordered)
        vector[2 * NUM_BANDS : 3 * NUM_BANDS] = ordered[0]
        vector[-3] = level
        vector[-2] = decibels(2.0 * max(float(samples.max()), -float(samples.min())) ** 2) - level
        vector[-1] = np.maximum(np.diff(bands, axis=0), 0.0).mean() if len(bands) > 1 else 0.0
        return vector


class _Analysis:
    """What depends on the sample rate alone, and the spectra of the last window: half of it comes again."""

    def __init__(self, rate_hz: int) -> None:
        if rate_hz < 2 * HIGHEST_HZ:
            raise ValueError(
                f"SoundEncoder: want at least {2 * HIGHEST_HZ:.0f} samples a second, got {rate_hz}; resample"
            )
        self.rate_hz = rate_hz
        self._size = max(64, round(FRAME_S * rate_hz))
        self._hop = max(1, round(HOP_S * rate_hz))
        taper = np.hanning(self._size + 1)[:-1]
        self._taper = taper * (2.0 / taper.sum())
        self._mel = mel_bands(rate_hz, self._size)
        self._last: tuple[float, Float32, Float32] | None = None

    def log_mel(self, samples: Float32, start_s: float) -> tuple[Float32, float]:
        """-> (frames, NUM_BANDS) in dB, and the share of the samples that were really heard."""
        if samples.size < self._size:
            samples = np.pad(samples, (0, self._size - samples.size))
        frames = np.lib.stride_tricks.sliding_window_view(samples, self._size)[:: self._hop]
        real, heard = self._outside_gaps(samples, len(frames))
        if not real.all():
            self._last = None
            return self._bands(self._power(frames[real])), heard
        again = self._heard_again(samples, start_s)
        power = self._power(frames[len(again) :])
        power = np.concatenate([again, power]) if len(again) else power
        self._last = start_s, samples, power
        return self._bands(power), heard

    def _heard_again(self, samples: Float32, start_s: float) -> Float32:
        """(frames, bins): the power of the first frames, where they lay in the last window too.

        The mel bands are summed anew: BLAS may round another number of rows differently.
        """
        if self._last is not None:
            before_s, before, power = self._last
            shift = round((start_s - before_s) * self.rate_hz)
            common = before.size - shift
            fits = shift % self._hop == 0 and shift > 0 and self._size <= common <= samples.size
            if fits and np.array_equal(before[shift:], samples[:common]):
                return power[shift // self._hop :]
        return np.empty((0, len(self._mel)), np.float32)

    def _power(self, frames: Float32) -> Float32:
        # numpy transforms float64 three times faster than float32
        spectrum = np.fft.rfft(frames * self._taper)
        power: Float32 = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
        return power

    def _bands(self, power: Float32) -> Float32:
        bands: Float32 = np.float32(10.0) * np.log10(power @ self._mel + np.float32(FLOOR))
        return bands

    def _outside_gaps(self, samples: Float32, num_frames: int) -> tuple[npt.NDArray[np.bool_], float]:
        """-> (frames,) True where a frame is free of gaps, and the share of time outside of gaps."""
        every = np.ones(num_frames, np.bool_)
        block = round(GAP_BLOCK_S * self.rate_hz)
        blocks = samples[: samples.size // block * block].reshape(-1, block)
        silent = ~blocks.any(axis=1)
        if not silent.any() or silent.all():
            return every, 1.0
        changes = np.flatnonzero(np.diff(silent, prepend=False, append=False)).reshape(-1, 2)
        gaps = changes[changes[:, 1] - changes[:, 0] >= GAP_BLOCKS] * block
        starts = np.arange(num_frames) * self._hop
        real = every.copy()
        for first, last in gaps:
            real &= (starts + self._size <= first) | (starts >= last)
        if 4 * real.sum() < num_frames:
            return every, 1.0
        return real, 1.0 - float((gaps[:, 1] - gaps[:, 0]).sum()) / samples.size


def mel_of(frequency_hz: npt.ArrayLike) -> Float64:
    """O'Shaughnessy's formula, as in HTK: 1000 Hz is 1000 mel.

    >>> float(mel_of(1000.0).round(1))
    1000.0
    """
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(frequency_hz, np.float64) / 700.0))


def hz_of(mel: npt.ArrayLike) -> Float64:
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel, np.float64) / 2595.0) - 1.0))


def mel_points() -> Float64:
    """(NUM_BANDS + 2,) Hz: band ``b`` rises from point ``b`` to ``b + 1`` and falls to ``b + 2``."""
    return hz_of(np.linspace(mel_of(LOWEST_HZ), mel_of(HIGHEST_HZ), NUM_BANDS + 2))


def mel_bands(rate_hz: int, size: int) -> Float32:
    """(size // 2 + 1, NUM_BANDS): the weight of every bin in every band's triangle, 1 at its top."""
    points = mel_points()[:, None]
    bins_hz = np.arange(size // 2 + 1) * (rate_hz / size)
    rising = (bins_hz - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins_hz) / (points[2:] - points[1:-1])
    return np.ascontiguousarray(np.maximum(0.0, np.minimum(rising, falling)).T, np.float32)


def decibels(power: npt.ArrayLike) -> Float64:
    return np.asarray(10.0 * np.log10(np.asarray(power, np.float64) + FLOOR))
