"""How many alerts so many blocks may have, when every camera has a threshold of its own.

The number of alerts in m new blocks of one camera, given a threshold that came from the k-th largest of n, is
beta-binomial (Vovk 2012). Cameras do not share a threshold, so their sum is the convolution of these laws. To take all
blocks for those of one camera with one threshold is wrong in both directions: its spread is too small where cameras
have little history, its mean is off where they have unequal much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmstream.types import Float64

_NEGLIGIBLE = 1e-13
"""Of a law's tail is left out, so that many cameras with many blocks stay quick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Of one camera."""

    rank: int
    """Its threshold is that of the blocks it was calibrated on: the largest is 1."""
    num_calibrated: int
    num_new: int
    """In so many its alerts are counted."""

    def __post_init__(self) -> None:
        if not (1 <= self.rank <= self.num_calibrated and self.num_new >= 0):
            raise ValueError(f"want 1 <= rank <= num_calibrated and num_new >= 0, got {self}")


def interval(cameras: Sequence[Blocks], *, level: float) -> tuple[int, int]:
    """The least and the most alerts of all cameras together that are not rarer than ``1 - level``, both tails together.

    >>> interval([Blocks(rank=1, num_calibrated=1, num_new=10)], level=0.8)
    (1, 9)
    >>> interval([], level=0.99)
    (0, 0)
    """
    first, law = 0, np.ones(1)
    for camera in cameras:
        start, own = _law(camera)
        first, law = first + start, np.convolve(law, own)
        low, law = _without_tails(law)
        first += low
    tail = (1.0 - level) / 2
    below = np.cumsum(law)
    least = int(np.searchsorted(below, tail, side="right"))
    most = int(np.searchsorted(below, 1.0 - tail, side="left"))
    return first + min(least, len(law) - 1), first + min(most, len(law) - 1)


def _law(camera: Blocks) -> tuple[int, Float64]:
    """-> (n, probabilities of n, n + 1, ... alerts)."""
    count, a, b = camera.num_new, camera.rank, camera.num_calibrated + 1 - camera.rank
    log_gamma = np.array([math.lgamma(each) for each in range(1, count + max(a, b, a + b) + 1)])  # of 1, 2, ...
    found = np.arange(count + 1)
    law = np.exp(
        log_gamma[count] - log_gamma[found] - log_gamma[count - found]
        + log_gamma[found + a - 1] + log_gamma[count - found + b - 1] - log_gamma[count + a + b - 1]
        + log_gamma[a + b - 1] - log_gamma[a - 1] - log_gamma[b - 1]
    )  # fmt: skip
    return _without_tails(law)


def _without_tails(law: Float64) -> tuple[int, Float64]:
    """-> (entries left out in front, the rest)."""
    kept = np.flatnonzero((np.cumsum(law) > _NEGLIGIBLE) & (np.cumsum(law[::-1])[::-1] > _NEGLIGIBLE))
    return int(kept[0]), law[kept[0] : kept[-1] + 1]
