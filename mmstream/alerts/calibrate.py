"""The threshold that keeps a camera within its budget of alerts per day, and the cap that makes sure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Phase = Literal["warmup", "provisional", "calibrated"]

DAY_S = 86_400.0
MAX_BLOCKS = 20_160
"""Block maxima kept at most (14 days of minutes): 160 KB."""

ELIGIBLE_SHARE = 0.8
"""A block counts when so much of it was covered by windows with evidence."""

MAX_RATE = 0.5
"""Alerts per block at most: a budget above that is no budget."""

OVERSHOOT = 2.5
"""Extrapolating from a few hours overshoots by up to 2.4 times (simulated), so it aims lower by this."""

USUAL_SCALE = 1.0 / math.log(10.0)
"""-log10 of a p-value has an exponential tail of this scale."""

PRIOR_BLOCKS = 4.0
"""The usual scale counts like so many blocks: one or two of them must not decide alone."""

LOW_BUDGETS = 5.0
NOTICE_BUDGETS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Scores to be exceeded; ``notice <= low <= alert``."""

    alert: float
    """Within the budget N."""
    low: float
    """Level of the budget 5 N: an alert is over below it."""
    notice: float
    """Level of the budget 10 N: worth keeping an eye on."""


_NEVER = Levels(alert=math.inf, low=math.inf, notice=math.inf)


class Debounce:
    """``max(median of the last 3, newest - 1)``: two of three windows, or one ten times rarer.

    >>> debounce = Debounce()
    >>> [debounce.push(score) for score in (0.0, 5.0, 5.0, 0.0)]
    [0.0, 4.0, 5.0, 5.0]
    """

    def __init__(self, recent: tuple[float, float] = (0.0, 0.0)) -> None:
        self.recent = recent

    def push(self, score: float) -> float:
        before, last = self.recent
        self.recent = (last, score)
        return max(median((before, last, score)), score - 1.0)


class Calibrator:
    """Block-maximum split-conformal threshold (``alpha = N block_s / 86400`` per block).

    Scores are observed in time order; the maximum of every clock-aligned block of ``block_s`` is
    kept for ``history_days``. With ``n`` of them the threshold is the ``floor(alpha (n + 1))``-th
    largest: alerts at least a block apart then open in at most a share ``alpha`` of blocks, for
    exchangeable blocks, however windows depend on one another. Before there are enough
    (``phase == "provisional"``) an exponential tail above the 80 % quantile is followed to
    ``alpha / 2.5``. Maxima are never left out for being high: that would raise the rate.
    """

    def __init__(self, *, alerts_per_day: float, block_s: float, history_days: float, warmup_s: float) -> None:
        if not (alerts_per_day > 0 and block_s > 0 and history_days > 0 and warmup_s >= 0):
            raise ValueError(
                f"need alerts_per_day, block_s, history_days > 0 and warmup_s >= 0, "
                f"got {alerts_per_day}, {block_s}, {history_days}, {warmup_s}"
            )
        self.alerts_per_day = alerts_per_day
        self.block_s = block_s
        self._history_s = history_days * DAY_S
        self._warmup_s = warmup_s
        self._rate = min(alerts_per_day * block_s / DAY_S, MAX_RATE)
        self._blocks = np.zeros((0, 3), np.float64)  # (end_s, maximum, maximum for the tail), oldest first
        self._block = -1
        self._maximum = 0.0
        self._covered_s = 0.0
        self._last_end_s = -math.inf
        self.seen_s = 0.0
        self._recalibrate()

    @property
    def num_blocks(self) -> int:
        return len(self._blocks)

    @property
    def phase(self) -> Phase:
        if self.seen_s < self._warmup_s or not len(self._blocks):
            return "warmup"
        return "calibrated" if self._rank(1.0) >= 1 else "provisional"

    @property
    def levels(self) -> Levels:
        """From closed blocks only: a score never takes part in its own threshold."""
        return self._levels if self.seen_s >= self._warmup_s else _NEVER

    def observe(self, value: float, *, start_s: float, end_s: float, known: bool = True) -> None:
        """A debounced score; ``known`` False: there was no evidence, the time counts as not covered."""
        covered_s = max(0.0, min(end_s - self._last_end_s, end_s - start_s))
        self._last_end_s = end_s
        self.seen_s += covered_s
        block = math.floor(end_s / self.block_s)
        if block != self._block:
            self._close_block(end_s)
            self._block, self._maximum, self._covered_s = block, 0.0, 0.0
        if known:
            self._covered_s += covered_s
            self._maximum = max(self._maximum, value)

    def p(self, value: float) -> float:
        """Share of blocks expected to reach ``value``; in (0, 1]."""
        count = len(self._sorted)
        rank = (1 + count - int(np.searchsorted(self._sorted, value, side="left"))) / (count + 1)
        if count == 0 or self._rank(1.0) >= 1 or value <= self._tail_start:
            return rank
        kept = math.exp(-(value - self._tail_start) / self._tail_scale)
        return min(rank, max(1e-9, OVERSHOOT * 0.2 * kept))

    def expected_every_s(self, value: float) -> float:
        """Something this unusual is expected once in so many seconds."""
        return self.block_s / self.p(value)

    def is_critical(self, value: float) -> bool:
        return self.p(value) <= self._rate / 10.0

    def state(self) -> dict[str, npt.NDArray[Any]]:
        numbers = [self.block_s, self._block, self._maximum, self._covered_s, self._last_end_s, self.seen_s]
        return {"blocks": self._blocks.copy(), "numbers": np.array(numbers, np.float64)}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Maxima of another ``block_s`` cannot be compared and are left out; how much was seen stays.

        Raises:
            KeyError, ValueError: the arrays are not those of a calibrator.
        """
        blocks = np.array(state["blocks"], np.float64).reshape(-1, 3)
        block_s, block, maximum, covered_s, last_end_s, seen_s = (float(number) for number in state["numbers"])
        self._last_end_s, self.seen_s = last_end_s, seen_s
        if block_s == self.block_s:
            self._blocks, self._block, self._maximum, self._covered_s = blocks, int(block), maximum, covered_s
        self._recalibrate()

    def _close_block(self, now_s: float) -> None:
        if self._covered_s < ELIGIBLE_SHARE * self.block_s:
            return
        ended_s = (self._block + 1) * self.block_s
        kept = int(np.searchsorted(self._blocks[:, 0], now_s - self._history_s, side="right"))
        kept = max(kept, len(self._blocks) + 1 - MAX_BLOCKS)
        self._blocks = np.concatenate(
            [self._blocks[kept:], [[ended_s, self._maximum, min(self._maximum, self.levels.alert)]]]
        )
        self._recalibrate()

    def _recalibrate(self) -> None:
        self._sorted = np.sort(self._blocks[:, 1])
        count = len(self._sorted)
        if not count:
            self._levels, self._tail_start, self._tail_scale = _NEVER, math.inf, USUAL_SCALE
            return
        # an alert among the first few blocks must not put the next one out of reach for hours:
        # in the tail (only there) it counts as having just reached the threshold of its time
        tail = self._blocks[:, 2]
        self._tail_start = float(np.quantile(tail, 0.8))
        excess = tail[tail > self._tail_start] - self._tail_start
        self._tail_scale = (PRIOR_BLOCKS * USUAL_SCALE + float(excess.sum())) / (PRIOR_BLOCKS + len(excess))
        alert = self._level(1.0)
        low = min(alert, self._level(LOW_BUDGETS))
        self._levels = Levels(alert=alert, low=low, notice=min(low, self._level(NOTICE_BUDGETS)))

    def _rank(self, budgets: float) -> int:
        return math.floor(min(self._rate * budgets, MAX_RATE) * (len(self._sorted) + 1))

    def _level(self, budgets: float) -> float:
        rank = self._rank(budgets)
        if rank >= 1:
            return float(self._sorted[-rank])
        rate = min(self._rate * budgets / OVERSHOOT, 0.2)
        return self._tail_start + self._tail_scale * math.log(0.2 / rate)


class TokenBucket:
    """The hard promise: in any D days at most ``N D + C`` takes, ``C = max(2, 2 N)``."""

    def __init__(self, *, per_day: float) -> None:
        self._per_day = per_day
        self.capacity = max(2.0, 2.0 * per_day)
        self.tokens = self.capacity
        self.filled_s = -math.inf

    def take(self, now_s: float) -> bool:
        """False when it is empty."""
        if self.filled_s > -math.inf:
            gained = max(0.0, now_s - self.filled_s) * self._per_day / DAY_S
            self.tokens = min(self.capacity, self.tokens + gained)
        self.filled_s = max(now_s, self.filled_s)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
