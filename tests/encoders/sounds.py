"""Recorded sound for the tests of what listens: mono at 16 kHz."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from mmstream.types import Float32

RATE_HZ = 16_000


def read_sound(path: Path) -> Float32:
    """The first sound track of a file, (n,)."""
    resampler = av.AudioResampler("flt", "mono", RATE_HZ)
    with av.open(str(path)) as file:
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)
