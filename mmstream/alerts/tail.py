"""How rare a block maximum is beyond those seen, while there are too few of them to count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmstream.types import Float64

TAIL_SHARE = 0.2
LEAST_SHAPE, MOST_SHAPE = -0.3, 0.5

USUAL_SCALE = 1.0 / math.log(10.0)
"""-log10 of a p-value has an exponential tail of this scale."""

USUAL_WEIGHT = 4.0
"""The usual scale counts like so many excesses: one or two of this feed's own must not decide alone."""

OTHERS_WEIGHT = 20.0
"""However many maxima other cameras of the site give, they count like so many at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Generalised Pareto: ``P(M > start + x) = share (1 + shape x / scale)^(-1 / shape)``."""

    start: float
    share: float
    scale: float
    shape: float

    def p(self, value: float) -> float:
        """Of a value above ``start``."""
        grown = 1.0 + self.shape * (value - self.start) / self.scale
        if grown <= 0.0:
            return 0.0
        if abs(self.shape) < 1e-6:
            return self.share * math.exp(-(value - self.start) / self.scale)
        return self.share * math.pow(grown, -1.0 / self.shape)

    def level(self, p: float) -> float:
        """What is exceeded with probability ``p``; ``start`` when more than the tail is asked for."""
        ratio = max(1.0, self.share / p)
        if abs(self.shape) < 1e-6:
            return self.start + self.scale * math.log(ratio)
        return self.start + self.scale * (math.pow(ratio, self.shape) - 1.0) / self.shape


def fit_tail(maxima: Float64, others: Sequence[float] = ()) -> Tail:
    """Probability-weighted moments (Hosking and Wallis, 1987) of the excesses over the 80 % quantile.

    ``maxima``: (n,), n >= 1. ``others``: maxima of other cameras less their own 80 % quantile.
    The start is a rank (the j-th largest of n is exceeded with probability j / (n + 1)), and the
    shape is made heavier by 1 / weight: with a scale known from m excesses the next one is Pareto
    of shape 1 / m. With a plain exponential, half an hour of history led to 3.7 times the budget in the
    next hour (60 simulated cameras, tails 1.4 times as long as the usual one); with these two, to 1.2.
    """
    ordered = np.sort(maxima)
    rank = min(len(ordered), math.ceil(TAIL_SHARE * (len(ordered) + 1)))
    start = float(ordered[-rank])
    own = ordered[len(ordered) - rank + 1 :] - start
    alien = np.sort([excess for excess in others if excess > 0.0])
    # of an exponential, E[X (1 - F)] is a quarter of the mean
    parts = [(USUAL_WEIGHT, USUAL_SCALE, USUAL_SCALE / 4.0)]
    parts += [(float(len(own)), *_moments(own))] if len(own) else []
    parts += [(min(float(len(alien)), OTHERS_WEIGHT), *_moments(alien))] if len(alien) else []
    weight = math.fsum(part[0] for part in parts)
    mean = math.fsum(part[0] * part[1] for part in parts) / weight
    weighted = math.fsum(part[0] * part[2] for part in parts) / weight
    spare = mean - 2.0 * weighted
    shape = 2.0 - mean / spare if spare > 1e-9 else MOST_SHAPE
    shape = min(MOST_SHAPE, max(LEAST_SHAPE, shape))
    scale = max(mean * (1.0 - shape), 1e-6)
    return Tail(start=start, share=rank / (len(ordered) + 1), scale=scale, shape=min(MOST_SHAPE, shape + 1.0 / weight))


def _moments(excess: Float64) -> tuple[float, float]:
    """E[X] and E[X (1 - F(X))] of excesses sorted upwards."""
    count = len(excess)
    weights = 1.0 - (np.arange(1, count + 1) - 0.35) / count
    return float(excess.mean()), float((excess * weights).mean())
