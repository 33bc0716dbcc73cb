"""Fusion rules over thousands of windows at once: the same numbers as `mmstream.fusion` gives one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmstream.errors import ConfigError
from mmstream.replay.strips import Aspect
from mmstream.types import Float32, Float64

_LN10 = math.log(10.0)


def fused(rule: str, heights: Float32 | Float64, aspects: Sequence[Aspect], weights: Mapping[str, float]) -> Float64:
    """(n, len(aspects)) of -log10 p, NaN where missing -> (n,) fused surprise >= 0; 0 without any evidence.

    ``weights``: modality -> weight.

    Raises:
        ConfigError: there is no such rule, or it cannot be gone through again.
    """
    if rule not in RULES:
        raise ConfigError(f"replay knows no fusion rule {rule!r}; choose one of {', '.join(RULES)}")
    known = np.asarray(heights, np.float64)
    if not len(aspects):
        return np.zeros(len(known))
    weight = np.array([weights.get(modality, 1.0) * own for _, modality, own in aspects])
    if rule == "harmonic":
        return _harmonic(known, weight)
    rarest, chosen = _by_modality(known, weight, [modality for _, modality, _ in aspects])
    count = np.count_nonzero(~np.isnan(rarest), axis=1)
    joined = _JOINS[rule](np.nan_to_num(rarest), np.where(np.isnan(rarest), 0.0, chosen), np.maximum(count, 1))
    return np.where(count > 0, np.maximum(joined, 0.0), 0.0)


def _harmonic(heights: Float64, weight: Float64) -> Float64:
    there = ~np.isnan(heights)
    pulls = np.where(there, weight * np.power(10.0, np.nan_to_num(heights)), 0.0).sum(axis=1)
    total = np.where(there, weight, 0.0).sum(axis=1)
    some = total > 0.0
    return np.where(some, np.maximum(0.0, np.log10(np.where(some, pulls, 1.0) / np.where(some, total, 1.0))), 0.0)


def _by_modality(heights: Float64, weight: Float64, modalities: Sequence[str]) -> tuple[Float64, Float64]:
    """(n, m) the rarest aspect of each modality, and its weight; NaN where the modality is missing."""
    rarest, chosen = [], []
    for modality in dict.fromkeys(modalities):
        of = [place for place, name in enumerate(modalities) if name == modality]
        part = np.where(np.isnan(heights[:, of]), -np.inf, heights[:, of])
        first = np.argmax(part, axis=1)
        top = part[np.arange(len(part)), first]
        rarest.append(np.where(np.isinf(top), np.nan, top))
        chosen.append(weight[of][first])
    return np.stack(rarest, axis=1), np.stack(chosen, axis=1)


def _mean(surprise: Float64, _weight: Float64, count: Float64) -> Float64:
    return np.asarray(surprise.sum(axis=1) / count)


def _linear(surprise: Float64, weight: Float64, _count: Float64) -> Float64:
    total = weight.sum(axis=1)
    return np.asarray((surprise * weight).sum(axis=1) / np.where(total > 0.0, total, 1.0))


def _fisher(surprise: Float64, _weight: Float64, count: Float64) -> Float64:
    half = surprise.sum(axis=1) * _LN10
    safe = np.where(half > 0.0, half, 1.0)
    terms = np.stack([i * np.log(safe) - math.lgamma(i + 1) for i in range(surprise.shape[1])], axis=1)
    terms = np.where(np.arange(surprise.shape[1]) < count[:, None], terms, -np.inf)
    top = terms.max(axis=1)
    log_p = -safe + top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
    return np.where(half > 0.0, -log_p / _LN10, 0.0)


def _largest(surprise: Float64, _weight: Float64, count: Float64) -> Float64:
    smallest = np.power(10.0, -surprise.max(axis=1))
    some = smallest < 1.0
    p = -np.expm1(count * np.log1p(-np.where(some, smallest, 0.5)))
    return np.where(some, -np.log10(p), 0.0)


_JOINS: dict[str, Callable[[Float64, Float64, Float64], Float64]] = {
    "mean": _mean,
    "linear": _linear,
    "fisher": _fisher,
    "max": _largest,
}
"""Rule -> ((n, modalities) surprise, 0 where missing; the same of weights; (n,) modalities that are there) -> (n,)."""

RULES = ("harmonic", *_JOINS)
