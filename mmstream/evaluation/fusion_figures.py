"""Figures of a fusion network on stretches: per sort of event, and over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mmstream.evaluation.metrics import Flags, auc
from mmstream.training.audiovisual import EVENTS, Stretches
from mmstream.types import Float64

T_995: Mapping[int, float] = {1: 63.657, 2: 9.925, 3: 5.841, 4: 4.604, 5: 4.032, 6: 3.707, 7: 3.499, 8: 3.355, 9: 3.25}
"""Student's t: 99.5 % quantile by degrees of freedom."""


def figures_of(scores: Float64, stretches: Stretches, threshold: float) -> dict[str, float]:
    unusual = stretches.labels > 0
    figures = {f"auc_{event}": auc_of_event(scores, stretches, event) for event in EVENTS}
    return figures | {
        "auc": auc(scores.ravel(), unusual.ravel()),
        "ap": average_precision(scores.ravel(), unusual.ravel()),
        "f1": f1(scores.ravel() >= threshold, unusual.ravel()),
    }


def auc_of_event(scores: Float64, stretches: Stretches, event: str) -> float:
    """AUC of one sort of event against windows in which nothing happens."""
    number = 1 + EVENTS.index(event)
    counts = np.isin(stretches.classes, (0, number))
    return auc(scores[counts], stretches.classes[counts] == number)


def average_precision(scores: Float64, unusual: Flags) -> float:
    """Mean precision at each unusual moment, ranked by score; equal scores are one rank. nan without any.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    0.8333333333333333
    """
    if not unusual.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(unusual[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / hits[-1])


def f1(found: Flags, unusual: Flags) -> float:
    return float(2.0 * (found & unusual).sum() / max(1, found.sum() + unusual.sum()))


def best_threshold(scores: Float64, unusual: Flags) -> float:
    """Where F1 was highest on the validation stretches."""
    levels = np.quantile(scores, np.linspace(0.5, 1.0, 101))
    return float(levels[int(np.argmax([f1(scores >= level, unusual) for level in levels]))])


def balanced_accuracy(found: npt.NDArray[np.int64], stretches: Stretches) -> float:
    """Mean over classes of the share that was named rightly; 1 / classes by chance."""
    shares = [float((found[stretches.classes == number] == number).mean()) for number in range(1 + len(EVENTS))]
    return float(np.mean(shares))


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and 99 % interval by Student's t; of a single value there is none.

    >>> interval([0.5, 0.7])
    {'mean': 0.6, 'low': -5.7657, 'high': 6.9657}
    """
    mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return {"mean": round(mean, 4) if math.isfinite(mean) else None, "low": None, "high": None}
    half = T_995.get(len(values) - 1, 3.25) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}
