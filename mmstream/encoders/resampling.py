"""Sound at another sampling rate, as one convolution for a whole batch.

Band-limited interpolation with a Kaiser-windowed sinc, as a polyphase filter bank (Smith, "Digital Audio Resampling"):
of ``up`` new samples for ``down`` old ones, each has its own short filter over its old neighbours.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

ZERO_CROSSINGS = 32
"""Of the sinc on each side: the transition takes a thirtieth of the band."""
PASSED_SHARE = 0.95
"""Of the lower rate's band: what is above fades out before it folds back."""
KAISER_BETA = 12.0
"""What should not be there is 110 dB down."""


class Resampler:
    """(N, n) at ``from_hz`` -> (N, ceil(n * to_hz / from_hz)) at ``to_hz``. Beyond both ends there is silence.

    >>> Resampler(16_000, 48_000)(torch.ones(2, 160)).shape
    torch.Size([2, 480])
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._down, self._up = from_hz // common, to_hz // common
        cutoff = PASSED_SHARE * min(1.0, self._up / self._down)  # as a share of the old band
        self._reach = math.ceil(ZERO_CROSSINGS / cutoff)
        offsets = torch.arange(-self._reach, self._reach + self._down, dtype=torch.float64)
        distance = offsets[None] - torch.arange(self._up, dtype=torch.float64)[:, None] * self._down / self._up
        inside = (1 - (distance * cutoff / ZERO_CROSSINGS) ** 2).clamp_min(0)
        beta = torch.tensor(KAISER_BETA, dtype=torch.float64)
        window = torch.special.i0(beta * inside.sqrt()) / torch.special.i0(beta) * (inside > 0)
        self._kernels = (cutoff * torch.sinc(distance * cutoff) * window)[:, None].float()  # (up, 1, taps)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        if self._up == self._down:
            return samples
        num = math.ceil(samples.shape[1] * self._up / self._down)
        padded = functional.pad(samples[:, None], (self._reach, self._reach + self._down))
        phases = functional.conv1d(padded, self._kernels.to(samples.device), stride=self._down)
        return phases.transpose(1, 2).reshape(len(samples), -1)[:, :num]
