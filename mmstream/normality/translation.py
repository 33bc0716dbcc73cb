"""Scores from before a refit, brought to the scale after it: so that nothing jumps overnight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmstream.types import Float32, Float64

MIN_PAIRS = 32
LARGEST = 8.0
"""A refit that stretches scores by more than this, or squeezes them so, is cut to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """``offset + factor * score``, ``factor > 0``: ranks among the scores of before stay as they are."""

    offset: float = 0.0
    factor: float = 1.0


def translation(before: Float32 | Float64, after: Float32 | Float64) -> Translation:
    """From the scores of the same vectors before and after: what brings the median and the 95 % quantile
    of the one to those of the other. None that could be told: nothing changes.

    >>> scores = np.arange(1.0, 101.0)
    >>> translation(scores, 2.0 * scores + 1.0)
    Translation(offset=1.0, factor=2.0)
    """
    known = np.isfinite(before) & np.isfinite(after)
    if int(known.sum()) < MIN_PAIRS:
        return Translation()
    middle, high = (float(value) for value in np.percentile(before[known], (50.0, 95.0)))
    new_middle, new_high = (float(value) for value in np.percentile(after[known], (50.0, 95.0)))
    if high <= middle or new_high <= new_middle:
        return Translation()
    factor = min(max((new_high - new_middle) / (high - middle), 1.0 / LARGEST), LARGEST)
    return Translation(offset=new_middle - factor * middle, factor=factor)
