"""The sound of a window as the site's sound network is given it, while it learns and afterwards: (64, 96) log-mel.

NumPy alone, for it is made beside the decoder, too, where no torch is loaded.
"""

from __future__ import annotations

import functools

import numpy as np

from mmstream.encoders.sound import FLOOR, mel_bands
from mmstream.types import Float32, Float64

SAMPLE_RATE_HZ = 16_000
NUM_SAMPLES = 2 * SAMPLE_RATE_HZ
"""Of one window."""
NUM_FRAMES = 96
FRAME_SAMPLES = 1024
HOP_SAMPLES = (NUM_SAMPLES - FRAME_SAMPLES) // (NUM_FRAMES - 1)
"""326, 20 ms: the frames reach over the whole window."""


def footage_mel(samples: Float32) -> Float32:
    """(..., 32000) mono at 16 kHz in [-1, 1] -> (..., 64, 96): natural logarithms of the power in each mel band.

    A sine at full scale has power 1; silence is ln(1e-10) = -23.0. Bands as in `encoders.sound`.

    Raises:
        ValueError: another number of samples.
    """
    if samples.shape[-1:] != (NUM_SAMPLES,):
        raise ValueError(f"footage_mel: want {NUM_SAMPLES} samples (2 s at 16 kHz), got {samples.shape}")
    taper, bands = _analysis()
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES, axis=-1)[..., ::HOP_SAMPLES, :]
    # numpy transforms float64 three times faster than float32
    spectrum = np.fft.rfft(frames[..., :NUM_FRAMES, :] * taper)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
    mel: Float32 = np.log(power @ bands + np.float32(FLOOR))
    return np.ascontiguousarray(np.swapaxes(mel, -1, -2))


@functools.cache
def _analysis() -> tuple[Float64, Float32]:
    """The taper and (bins, bands) weights."""
    taper = np.hanning(FRAME_SAMPLES + 1)[:-1]
    return taper * (2.0 / taper.sum()), mel_bands(SAMPLE_RATE_HZ, FRAME_SAMPLES)
