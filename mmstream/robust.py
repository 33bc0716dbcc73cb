"""What a few wild values do not move: location, spread, and the light of a scene."""

from __future__ import annotations

import numpy as np

from mmstream.types import Float32, Float64


def quartiles(values: Float32 | Float64) -> tuple[float, float, float]:
    """What ``np.percentile`` gives for 25, 50 and 75 of at least one value, in a tenth of its time.

    >>> quartiles(np.array([4.0, 1.0, 3.0, 2.0]))
    (1.75, 2.5, 3.25)
    """
    ordered = np.sort(values, axis=None).tolist()
    found = []
    for quarter in (1, 2, 3):
        whole, rest = divmod(quarter * (len(ordered) - 1), 4)
        found.append(ordered[whole] + (ordered[min(whole + 1, len(ordered) - 1)] - ordered[whole]) * rest / 4)
    return found[0], found[1], found[2]


def in_light_of(reference: Float32, small: Float32) -> Float32:
    """``reference`` with the gain and offset that match its quartiles to ``small``'s: a lamp or a
    cloud is no activity."""
    low_r, middle_r, high_r = quartiles(reference)
    low, middle, high = quartiles(small)
    gain = np.float32(min(2.0, max(0.5, (high - low + 1.0) / (high_r - low_r + 1.0))))
    matched: Float32 = gain * (reference - np.float32(middle_r)) + np.float32(middle)
    return matched
