"""The threshold that keeps a camera within its budget of alerts per day."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.alerts.beta import beta_quantile
from mmstream.alerts.blocks import Blocks, in_steps
from mmstream.alerts.drift import DriftMartingale
from mmstream.alerts.levels import (
    CRITICAL_BUDGETS,
    DAY_S,
    LEAST,
    LOW_BUDGETS,
    NEVER,
    NOTICE_BUDGETS,
    Levels,
    Phase,
)
from mmstream.alerts.machine import count_openings, quiet_s_of
from mmstream.alerts.rate import RateController
from mmstream.alerts.tail import Tail, fit_tail
from mmstream.types import Float64

ELIGIBLE_SHARE = 0.8
"""A block counts when so much of it was covered by windows with evidence."""

MAX_RATE = 0.5
"""Alerts per block at most: a budget above that is no budget."""

TOLD_AFTER_S = 7200.0
"""A camera knows so much of itself before it says anything to others: of a few minutes one event would be half."""

OVERSHOOT = 2.5
"""Extrapolating from a few hours overshoots by up to 2.4 times (simulated), so it aims lower by this."""

YOUNG_S = DAY_S
"""With less history than this the threshold is set anew with every block, later once a day."""

DRIFT_AFTER_S = 2.0 * DAY_S
DRIFT_HOUR_S = 5400.0
"""For drift a block is compared with others of this much before and after its time of the day."""

DRIFT_KEEP_S = 3.0 * DAY_S
"""No more than this is looked back while there is drift."""

_LEVEL_NAMES = [field.name for field in dataclasses.fields(Levels)]


class Calibrator:
    """Block-maximum split-conformal threshold (``alpha = N block_s / 86400`` per block).

    Scores are observed in time order; of every clock-aligned block of ``block_s`` the maximum is kept
    for ``history_days``. With ``n`` of them and ``k = floor(alpha (n + 1))`` the threshold is the
    lowest maximum at which the alert machine, replayed over the kept history, opens less than ``k``
    times (at most the k-th largest: openings are a block apart). A new block then opens an alert with
    probability at most ``k / (n + 1)``, for exchangeable blocks, however windows depend on one
    another: conformal risk control (Angelopoulos et al., 2022). ``alpha`` follows `RateController`.

    Before there are enough (``phase == "provisional"``) a tail is extrapolated to ``alpha / 2.5``;
    ``prior_maxima`` (asks for the `excesses` of other cameras of the site) makes it surer. Maxima are never left
    out for being high: that would raise the rate. Blocks in which a user confirmed an alert, or the
    view changed, are (`exclude`).
    """

    def __init__(
        self,
        *,
        alerts_per_day: float,
        block_s: float,
        history_days: float,
        warmup_s: float,
        prior_maxima: Callable[[], Sequence[float]] = tuple,
    ) -> None:
        if not (alerts_per_day > 0 and block_s > 0 and history_days > 0 and warmup_s >= 0):
            raise ValueError(
                f"need alerts_per_day, block_s, history_days > 0 and warmup_s >= 0, "
                f"got {alerts_per_day}, {block_s}, {history_days}, {warmup_s}"
            )
        self.alerts_per_day = float(alerts_per_day)
        self.block_s = block_s
        self._history_s = history_days * DAY_S
        self._warmup_s = warmup_s
        self._prior_maxima = prior_maxima
        self._nominal_rate = min(alerts_per_day * block_s / DAY_S, MAX_RATE)
        self._blocks = Blocks(block_s=block_s, quiet_s=quiet_s_of(block_s))
        self._controller = RateController(alerts_per_day=alerts_per_day)
        self._martingale = DriftMartingale()
        self._block, self._day = -1, -1
        self._maximum, self._covered_s = 0.0, 0.0
        self._cells = [0.0] * self._blocks.num_cells
        self._last_end_s = -math.inf
        self.seen_s = 0.0
        self._sorted: Float64 = np.zeros(0)
        self._tail: Tail | None = None
        self._levels = NEVER
        self._is_stale = True
        self._interval: tuple[tuple[int, int], list[float]] = ((0, 0), [])

    # -- what is known --------------------------------------------------------------------------------

    @property
    def num_blocks(self) -> int:
        return len(self._blocks)

    @property
    def phase(self) -> Phase:
        if self.seen_s < self._warmup_s or not len(self._blocks):
            return "warmup"
        return "calibrated" if self._is_exact() else "provisional"

    @property
    def levels(self) -> Levels:
        """From closed blocks only: a score never takes part in its own threshold."""
        if self.seen_s < self._warmup_s:
            return NEVER
        if self._is_stale:
            self._recalibrate()
        return self._levels

    @property
    def drifting(self) -> bool:
        """Ordinary blocks are no longer like those of the past."""
        return self._martingale.drifting

    @property
    def rate_factor(self) -> float:
        """How many times the budget is aimed at, as the controller found necessary."""
        return self._controller.factor

    def rate_interval_per_day(self) -> list[float] | None:
        """90 % interval of the true number of alerts per day; None while there are too few blocks for one.

        Given the history, the rate per block follows Beta(k, n + 1 - k) (Vovk, 2012).
        """
        if self.phase != "calibrated":
            return None
        count, rank = len(self._blocks), self._alert_rank(len(self._blocks))
        if self._interval[0] != (rank, count):
            per_day = DAY_S / self.block_s
            bounds = [per_day * beta_quantile(q, rank, count + 1 - rank) for q in (0.05, 0.95)]
            self._interval = ((rank, count), bounds)
        return list(self._interval[1])

    def p(self, value: float) -> float:
        """Share of blocks expected to reach ``value``; in (0, 1]."""
        if self._is_stale:
            self._recalibrate()
        count = len(self._sorted)
        rank = (1 + count - int(np.searchsorted(self._sorted, value, side="left"))) / (count + 1)
        if self._tail is None or self._is_exact() or value <= self._tail.start:
            return rank
        return min(rank, max(1e-9, OVERSHOOT * self._tail.p(value)))

    def expected_every_s(self, value: float) -> float:
        """Something this unusual is expected once in so many seconds."""
        return self.block_s / self.p(value)

    def allow(self, alerts_per_day: float) -> None:
        """The budget has changed: another threshold over the same history."""
        self.alerts_per_day = self._controller.alerts_per_day = float(alerts_per_day)
        self._nominal_rate = min(alerts_per_day * self.block_s / DAY_S, MAX_RATE)
        self._is_stale = True

    def excesses(self) -> Float64:
        """Maxima above this feed's own 80 % quantile, less it: what other cameras can start from. None before it
        knows `TOLD_AFTER_S` of itself."""
        if len(self._blocks) * self.block_s < TOLD_AFTER_S:
            return np.zeros(0)
        excess = self._blocks.maxima - fit_tail(self._blocks.maxima).start
        return excess[excess > 0.0]

    # -- what happens -----------------------------------------------------------------------------------

    def observe(self, value: float, *, start_s: float, end_s: float, known: bool = True, live: bool = True) -> None:
        """A debounced score; ``known`` False: there was no evidence, or the camera was ill: not covered."""
        covered_s = max(0.0, min(end_s - self._last_end_s, end_s - start_s))
        self._last_end_s = end_s
        self.seen_s += covered_s
        place = end_s / self.block_s
        block = math.floor(place)
        if block != self._block:
            self._close_block(end_s, live=live)
            self._block, self._maximum, self._covered_s = block, 0.0, 0.0
            self._cells = [0.0] * self._blocks.num_cells
        if known:
            self._covered_s += covered_s
            cell = int((place - block) * self._blocks.num_cells)
            if value > self._cells[cell]:
                self._cells[cell] = value
                if value > self._maximum:
                    self._maximum = value

    def count_opening(self) -> None:
        """An alert was raised, told or not."""
        if self._is_exact():
            self._controller.count()

    def exclude(self, start_s: float, end_s: float) -> None:
        """Blocks that overlap ``[start_s, end_s)`` say nothing about ordinary ones: the view had
        changed, or a user confirmed what happened in them. The block under way counts too."""
        self._blocks.exclude(start_s, end_s)
        if start_s < (self._block + 1) * self.block_s and end_s > self._block * self.block_s:
            self._covered_s = -math.inf
        self._is_stale = True

    def adopt_maxima(self, change: Callable[[Float64], Float64]) -> None:
        """Another model judges from now on: maxima of before are read as it would have given them (``change``, which
        never falls), so that the threshold means what it meant."""
        self._blocks.reread(change)
        self._maximum, *self._cells = change(np.array([self._maximum, *self._cells])).tolist()
        self._is_stale = True

    def forgive(self) -> None:
        """One of the alerts counted was true: no fault of the threshold."""
        self._controller.forgive()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        numbers = [self.block_s, self._block, self._day, self._maximum, self._covered_s, self._last_end_s, self.seen_s]
        return {
            "blocks": self._blocks.state(),
            "cells": np.array(self._cells),
            "numbers": np.array(numbers),
            "levels": np.array([self.alerts_per_day, *dataclasses.astuple(self._levels), self._is_stale]),
            "controller": np.array(self._controller.state()),
            "martingale": np.array(self._martingale.state()),
        }

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Maxima of another ``block_s`` cannot be compared and are left out; how much was seen stays.

        Raises:
            KeyError, ValueError: the arrays are not those of a calibrator.
        """
        block_s, block, day, maximum, covered_s, last_end_s, seen_s = state["numbers"].tolist()
        if block_s == self.block_s:
            self._blocks.load(state["blocks"])
            self._block, self._maximum, self._covered_s = int(block), maximum, covered_s
            self._cells = state["cells"].tolist()
            self._martingale.load(state["martingale"].tolist())
        self._day, self._last_end_s, self.seen_s = int(day), last_end_s, seen_s
        self._controller.load(state["controller"].tolist())
        self._recalibrate()
        alerts_per_day, *levels, is_stale = state["levels"].tolist()
        if not is_stale and (alerts_per_day, block_s) == (self.alerts_per_day, self.block_s):
            # until the night it goes by the same threshold as before the restart
            self._levels = Levels(**dict(zip(_LEVEL_NAMES, levels, strict=True)))

    # -- inside -----------------------------------------------------------------------------------------

    def _close_block(self, now_s: float, *, live: bool) -> None:
        day = math.floor(now_s / DAY_S)
        if self._covered_s >= ELIGIBLE_SHARE * self.block_s:
            if live:
                self._bet()
            exact = self._is_exact()
            # an alert among the first few blocks must not put the next one out of reach for hours: in
            # the tail (only there) it counts as having reached the level at which alerts end
            raised = not exact and self._maximum > self.levels.alert
            capped = self.levels.low if raised else self._maximum
            self._blocks.append(self._block, self._maximum, capped, self._cells)
            if live and exact:
                self._controller.watch(self.block_s)
            self._is_stale |= len(self._blocks) * self.block_s < YOUNG_S
        if day != self._day:
            if live and self._day >= 0:
                self._controller.end_day()
            self._day = day
            self._blocks.forget_before(now_s - (DRIFT_KEEP_S if self.drifting else self._history_s))
            self._is_stale = True

    def _bet(self) -> None:
        if len(self._blocks) * self.block_s < DRIFT_AFTER_S:
            return
        alike = self._blocks.near_hour(self._block, DRIFT_HOUR_S)
        if self._martingale.push((1 + np.count_nonzero(alike >= self._maximum)) / (len(alike) + 1)):
            self._blocks.forget_before((self._block + 1) * self.block_s - DRIFT_KEEP_S)
            self._is_stale = True

    def _is_exact(self) -> bool:
        return self._nominal_rate * (len(self._blocks) + 1) >= 1.0

    def _rank(self, budgets: float, count: int) -> int:
        return math.floor(min(self._nominal_rate * self._controller.factor * budgets, MAX_RATE) * (count + 1))

    def _alert_rank(self, count: int) -> int:
        return max(1, self._rank(1.0, count))

    def _recalibrate(self) -> None:
        self._is_stale = False
        self._sorted = np.sort(self._blocks.maxima)
        if not len(self._sorted):
            self._levels, self._tail = NEVER, None
            return
        self._tail = fit_tail(self._blocks.capped, self._prior_maxima())
        low = max(LEAST, self._level(LOW_BUDGETS))
        if self._is_exact():
            low = min(low, max(LEAST, float(self._sorted[-self._alert_rank(len(self._sorted))])))
            alert = self._replayed(low)
        else:
            alert = max(low, self._level(1.0))
        self._levels = Levels(
            critical=max(alert, self._level(CRITICAL_BUDGETS)),
            alert=alert,
            low=low,
            notice=min(low, max(LEAST, self._level(NOTICE_BUDGETS))),
        )

    def _level(self, budgets: float) -> float:
        rank = self._rank(budgets, len(self._sorted))
        if rank >= 1:
            return float(self._sorted[-rank])
        assert self._tail is not None
        return self._tail.level(self._nominal_rate * self._controller.factor * budgets / OVERSHOOT)

    def _replayed(self, low: float) -> float:
        """The lowest of the maxima from ``low`` up at which a replay opens less than k times.

        The k-th largest does: each opening needs a block of its own above it.
        """
        starts_s, values = self._blocks.cells()
        most = self._alert_rank(len(self._sorted)) - 1

        def is_within(rank: int) -> bool:
            alert = in_steps(float(self._sorted[-rank]))
            num = count_openings(
                starts_s, values, cell_s=self._blocks.cell_s, alert=alert, low=in_steps(low), block_s=self.block_s
            )
            return num <= most

        lowest = int(np.count_nonzero(self._sorted >= low))
        rank, beyond = most + 1, max(most + 1, lowest) + 1
        while beyond - rank > 1:
            middle = (rank + beyond) // 2
            rank, beyond = (middle, beyond) if is_within(middle) else (rank, middle)
        return max(low, float(self._sorted[-rank]))
