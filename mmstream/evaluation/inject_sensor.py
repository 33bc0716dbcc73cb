"""Faults of a sensor by a known amount, in local deviations (`algorithms` 8.2 D)."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from mmstream.types import Float64

SensorFault = Literal["spike", "level_shift", "drift", "flat", "dropout"]
LOCAL_ROWS = 500
"""Rows before the fault that say how much the series varies there."""


def deviation(values: Float64, at: int) -> float:
    """Median absolute difference from the median of the rows before ``at``; never 0."""
    local = values[max(0, at - LOCAL_ROWS) : at]
    local = local[np.isfinite(local)]
    if not len(local):
        raise ValueError(f"no rows before row {at} say how much the series varies; put the fault later")
    spread = float(np.median(np.abs(local - np.median(local))))
    return spread if spread > 0 else max(float(local.std()), 1e-6)


def with_fault(values: Float64, fault: SensorFault, *, first: int, last: int, magnitude: float) -> Float64:
    """The series with a fault in rows ``first`` to ``last`` (half open), ``magnitude`` local deviations large.

    ``spike``: the first row alone. ``level_shift``: all of them. ``drift``: growing to it. ``flat``: the first
    value again and again. ``dropout``: nan. The last two have no magnitude.

    Raises:
        ValueError: no such fault, or no such rows.
    """
    if not 0 < first < last <= len(values):
        raise ValueError(f"want rows within 1..{len(values)}, got {first}..{last}")
    step = magnitude * deviation(values, first)
    faulty = values.copy()
    match fault:
        case "spike":
            faulty[first] += step
        case "level_shift":
            faulty[first:last] += step
        case "drift":
            faulty[first:last] += step * np.linspace(0.0, 1.0, last - first)
        case "flat":
            faulty[first:last] = values[first]
        case "dropout":
            faulty[first:last] = np.nan
        case _:
            raise ValueError(f"there is no fault {fault!r}; choose one of {', '.join(get_args(SensorFault))}")
    return faulty
