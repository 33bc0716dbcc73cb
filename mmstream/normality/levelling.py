"""Brings aspects to one scale: how often has this one been as rare as that?

A p-value of one window says how rare it is among windows. Whether it is worth an alert depends on how often such
windows come: an aspect whose p-values are too small in its tail (the picture, when the day shows what the learned hours
did not) is the rarest of all every few minutes, and whoever joins aspects by their p-values hears only that one.
Measured on composed cameras: motion alone found twice as many events as all aspects together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_S = 60.0
MAX_BLOCKS = 1440
"""A day of blocks that hold windows of the aspect."""
MIN_BLOCKS = 5
KAPPA = 60.0
"""Below 5 blocks p-values are taken as they are; with 60 what is known counts half. A few events among a dozen blocks
would else put the next one out of reach: of the demo's twelve, seven were lost."""

TAIL_SHARE = 0.2
USUAL_SCALE = 1.0 / math.log(10.0)
"""-log10 of a p-value has an exponential tail of this scale."""
USUAL_WEIGHT = 12.0
"""The usual scale counts like so many blocks of the tail."""
LEAST_P = 1e-8


class Level:
    """One aspect's maxima of -log10 p in blocks of a minute, and what they make of a p-value.

    With ``G(h)`` the share of blocks that reach height h, and n windows in a block, the levelled value is the p of
    which n independent windows would reach it as often: ``1 - (1 - G)^(1/n)``. Above the 80 % quantile q of the maxima
    ``G(h) = 0.2 exp(-(h - q) / scale)``, the scale being the median excess over ln 2 (that of an exponential
    tail; a few events move a median little), drawn towards that of exact p-values. Between the p-value as it is and
    the levelled one stands their geometric mean, weighted by how many blocks are known: ``n / (n + 60)``. It never
    falls with h: what an aspect ranks first stays first.
    """

    def __init__(self) -> None:
        self._maxima: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._counts: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._block = -1
        self._maximum, self._count = 0.0, 0
        self._ordered = self._maxima
        self._start, self._share, self._scale, self._num_windows = math.inf, TAIL_SHARE, USUAL_SCALE, 1.0

    def p(self, p: float) -> float:
        """The levelled p-value, in [1e-8, 1]."""
        if len(self._maxima) < MIN_BLOCKS:
            return p
        height = -math.log10(max(p, LEAST_P))
        if height > self._start:
            reached = self._share * math.exp(-(height - self._start) / self._scale)
        else:
            below = int(np.searchsorted(self._ordered, height, side="left"))
            reached = (len(self._ordered) - below + 1) / (len(self._ordered) + 1)
        levelled = -math.expm1(math.log1p(-reached) / self._num_windows) if reached < 1.0 else 1.0
        known = len(self._maxima) / (len(self._maxima) + KAPPA)
        return min(1.0, math.exp((1.0 - known) * math.log(max(p, LEAST_P)) + known * math.log(max(levelled, LEAST_P))))

    def push(self, p: float, end_s: float) -> None:
        """A window has been judged; a block that has passed counts from now on."""
        block = math.floor(end_s / BLOCK_S)
        if block != self._block:
            if self._count:
                self._maxima = np.append(self._maxima, np.float32(self._maximum))[-MAX_BLOCKS:]
                self._counts = np.append(self._counts, np.float32(self._count))[-MAX_BLOCKS:]
                self._measure()
            self._block, self._maximum, self._count = block, 0.0, 0
        self._maximum = max(self._maximum, -math.log10(max(p, LEAST_P)))
        self._count += 1

    def state(self) -> tuple[list[float], npt.NDArray[np.float32]]:
        """-> (the block under way, its maximum, its windows), and (2, blocks): maxima, and windows in each."""
        return [self._block, self._maximum, self._count], np.stack([self._maxima, self._counts])

    def load(self, under_way: Sequence[float], blocks: npt.NDArray[Any]) -> None:
        """Raises ValueError: it is not what `state` gave."""
        block, self._maximum, count = under_way
        self._block, self._count = int(block), int(count)
        self._maxima, self._counts = np.array(blocks, np.float32).reshape(2, -1)
        self._measure()

    def _measure(self) -> None:
        if len(self._maxima) < MIN_BLOCKS:
            return
        self._ordered = np.sort(self._maxima)
        rank = min(len(self._ordered), math.ceil(TAIL_SHARE * (len(self._ordered) + 1)))
        self._start = float(self._ordered[-rank])
        self._share = rank / (len(self._ordered) + 1)
        excess = self._ordered[len(self._ordered) - rank + 1 :] - self._start
        own = float(np.median(excess)) / math.log(2.0) if len(excess) else 0.0
        self._scale = (USUAL_WEIGHT * USUAL_SCALE + len(excess) * own) / (USUAL_WEIGHT + len(excess))
        self._num_windows = max(1.0, float(self._counts.mean()))


class Levelling:
    """A `Level` per key, made when it is first needed."""

    def __init__(self) -> None:
        self._levels: dict[tuple[str, str], Level] = {}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._levels)

    def p(self, key: tuple[str, str], p: float) -> float:
        level = self._levels.get(key)
        return p if level is None else level.p(p)

    def push(self, heights: Sequence[tuple[tuple[str, str], float]], end_s: float) -> None:
        """(key, p) of each aspect that a window had."""
        for key, p in heights:
            self._levels.setdefault(key, Level()).push(p, end_s)

    def take_over(self, other: Levelling, names: Collection[str]) -> None:
        """What ``other`` knows of the aspects with these names."""
        self._levels |= {key: level for key, level in other._levels.items() if key[0] in names}

    def state(self) -> tuple[list[Any], dict[str, npt.NDArray[np.float32]]]:
        """-> (JSON, arrays): all that `load` takes back exactly."""
        record: list[Any] = []
        arrays = {}
        for number, (key, level) in enumerate(self._levels.items()):
            under_way, arrays[str(number)] = level.state()
            record.append([*key, under_way])
        return record, arrays

    def load(self, record: Sequence[Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: it is not what `state` gave."""
        self._levels = {}
        for number, (aspect, mode, under_way) in enumerate(record):
            level = self._levels[aspect, mode] = Level()
            level.load(under_way, arrays[str(number)])
