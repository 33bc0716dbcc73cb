"""How well scores separate unusual from normal, and what a threshold does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmstream.types import Float64

Flags = npt.NDArray[np.bool_]


def auc(scores: Float64, unusual: Flags) -> float:
    """Chance that an unusual moment scores above a normal one; ties count half (Mann and Whitney, 1947).

    nan without both kinds.

    >>> auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    normal, other = np.sort(scores[~unusual]), scores[unusual]
    if not len(normal) or not len(other):
        return float("nan")
    below = np.searchsorted(normal, other, side="left") + np.searchsorted(normal, other, side="right")
    return float(below.mean() / 2 / len(normal))


def auc_interval(
    scores: Mapping[str, Float64], unusual: Mapping[str, Flags], *, num_draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % of the micro AUC under bootstrap over clips: frames of one clip are no independent witnesses.

    Draws without both kinds of frames are drawn again.
    """
    names, random = sorted(scores), np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(20 * num_draws):
        chosen = [names[number] for number in random.integers(0, len(names), len(names))]
        value = auc(np.concatenate([scores[n] for n in chosen]), np.concatenate([unusual[n] for n in chosen]))
        if not np.isnan(value):
            draws.append(value)
        if len(draws) == num_draws:
            break
    if not draws:
        return float("nan"), float("nan")
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtThreshold:
    """What alerts above one threshold would have found."""

    event_recall: float
    """Share of the events with at least one moment above it."""
    false_frame_rate: float
    """Share of the normal frames above it."""
    delays_s: tuple[float, ...]
    """From the start of each found event to its first moment above it."""


def at_threshold(
    scores: Mapping[str, Float64], times_s: Mapping[str, Float64], unusual: Mapping[str, Flags], threshold: float
) -> AtThreshold:
    """An event is a run of unusual frames of one clip. Rates without any event or normal frame are nan."""
    delays_s: list[float] = []
    num_events = num_false = num_normal = 0
    for name, values in scores.items():
        above, flags = values > threshold, unusual[name]
        num_false += int((above & ~flags).sum())
        num_normal += int((~flags).sum())
        for first, last in runs(flags):
            num_events += 1
            found = np.flatnonzero(above[first:last])
            if found.size:
                delays_s.append(float(times_s[name][first + found[0]] - times_s[name][first]))
    return AtThreshold(
        event_recall=len(delays_s) / num_events if num_events else float("nan"),
        false_frame_rate=num_false / num_normal if num_normal else float("nan"),
        delays_s=tuple(delays_s),
    )


def runs(flags: Flags) -> Sequence[tuple[int, int]]:
    """The half-open ranges in which ``flags`` is True.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
