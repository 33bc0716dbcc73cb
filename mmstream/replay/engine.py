"""Alerting gone through again over a feed's past, with the parts that alert in earnest.

Debounced scores go through the same `Machine`, `TokenBucket` and `Calibrator`, window by window in time order: a
threshold is set from what came before only. What lies between two windows of a strip was below them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmstream.alerts.blocks import LARGEST_CELL, STEPS_PER_UNIT, Blocks
from mmstream.alerts.bucket import TokenBucket
from mmstream.alerts.calibrate import ELIGIBLE_SHARE, Calibrator
from mmstream.alerts.debounce import tie_jitter
from mmstream.alerts.machine import SUSPECT_QUIET_S, Machine, quiet_s_of
from mmstream.config import BudgetSection
from mmstream.replay.beginning import before
from mmstream.replay.strips import Past
from mmstream.types import Alert, Float64, Severity
from mmstream.windowing import HOP_S

LAST_OF_BLOCK_S = 1e-3
"""Before the end of a block: what is there still belongs to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """An alert that would have been."""

    feed_id: str
    start_s: float
    end_s: float
    peak_s: float
    severity: Severity
    surprise: float
    window: int
    """Its highest, in the past that was gone through."""
    suppressed: bool
    """The budget was used up: nobody would have been told."""
    provisional: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What a calibrator knew when the replay begins."""

    rows: npt.NDArray[np.void]
    """As `Blocks.state` has them, oldest first."""
    seen_s: float


def known_before(
    past: Past, value: Float64, *, until_s: float, budget: BudgetSection, older: npt.NDArray[np.void] | None = None
) -> Known:
    """From the blocks of ``past`` that begin before ``until_s``, and ``older`` rows of still earlier ones (of a kept
    calibrator; None: there are none)."""
    blocks = Blocks(block_s=budget.block_s, quiet_s=quiet_s_of(budget.block_s))
    count = int(np.searchsorted(past.blocks_s, until_s))
    counted = past.covered_s[:count] >= ELIGIBLE_SHARE * budget.block_s
    counted &= np.diff(past.first[: count + 1]) > 0
    fresh = np.zeros(count, blocks.state().dtype)
    if count:
        end = past.first[count]
        block_of = np.repeat(np.arange(count), np.diff(past.first[: count + 1]))
        place = (past.end_s[:end] - past.blocks_s[block_of]) / budget.block_s * blocks.num_cells
        cells = np.zeros((count, blocks.num_cells))
        np.maximum.at(cells, (block_of, np.clip(place.astype(int), 0, blocks.num_cells - 1)), value[:end])
        fresh["number"] = np.round(past.blocks_s[:count] / budget.block_s)
        fresh["maximum"] = fresh["capped"] = cells.max(axis=1)
        fresh["cells"] = np.minimum(np.ceil(cells * STEPS_PER_UNIT), LARGEST_CELL)
    rows = fresh[counted]
    if older is not None and older.dtype == rows.dtype:
        first = int(fresh["number"][0]) if count else math.ceil(until_s / budget.block_s)
        rows = np.concatenate([before(older, first), rows])
    return Known(rows=rows, seen_s=len(rows) * budget.block_s)


def replay(
    past: Past,
    *,
    value: Float64,
    surprise: Float64,
    since_s: float,
    until_s: float,
    alerts_per_day: float,
    budget: BudgetSection,
    known: Known,
    confirmed: Sequence[Alert] = (),
) -> list[Replayed]:
    """Alerts of the blocks that begin in ``[since_s, until_s)``. ``value`` (n,) is debounced, ``surprise`` (n,) not.
    ``confirmed``: alerts that an operator called true: when they end, their blocks are left out of calibration."""
    calibrator = _calibrator(alerts_per_day, budget, known)
    run = _Run(past.feed_id, calibrator)
    waiting = sorted(confirmed, key=lambda alert: -alert.end_s)
    first, last = np.searchsorted(past.blocks_s, [since_s, until_s])
    starts_s, ends_s = past.start_s.tolist(), past.end_s.tolist()
    values, surprises, firsts = value.tolist(), surprise.tolist(), past.first.tolist()
    for block in range(int(first), int(last)):
        begins_s = float(past.blocks_s[block])
        closes_s = begins_s + budget.block_s - LAST_OF_BLOCK_S
        share = min(1.0, float(past.covered_s[block]) / budget.block_s * 1.0001)
        before_s = begins_s
        for window in range(firsts[block], firsts[block + 1]):
            end_s = min(ends_s[window], closes_s)
            debounced = values[window] + tie_jitter(end_s)
            run.step(window, starts_s[window], end_s, debounced, surprises[window])
            calibrator.observe(debounced, start_s=end_s - share * (end_s - before_s), end_s=end_s)
            before_s = end_s
        calibrator.observe(0.0, start_s=closes_s - share * (closes_s - before_s), end_s=closes_s)
        while waiting and waiting[-1].end_s <= closes_s:
            alert = waiting.pop()
            calibrator.exclude(alert.start_s, alert.end_s)
            if not alert.provisional:
                calibrator.forgive()
    return run.finish()


class _Run:
    """The machine of one feed, and the alerts that it has led to."""

    def __init__(self, feed_id: str, calibrator: Calibrator) -> None:
        self._feed_id = feed_id
        self._calibrator = calibrator
        self._machine = Machine(block_s=calibrator.block_s)
        self._bucket = TokenBucket(per_day=calibrator.alerts_per_day)
        self._draft: Replayed | None = None
        self._done: list[Replayed] = []

    def step(self, window: int, start_s: float, end_s: float, value: float, surprise: float) -> None:
        machine, levels = self._machine, self._calibrator.levels
        loudness = max(value, surprise)
        self._be_quiet_until(end_s - HOP_S)
        if machine.state == "normal" and loudness < levels.notice:
            return
        event = machine.step(start_s, end_s, value, loudness, levels)
        if event in ("suspect", "open", "extend", "scene_changed"):
            self._grow(window, start_s, end_s, surprise, is_critical=value > levels.critical)
        if event == "open":
            self._calibrator.count_opening()
        if event in ("open", "extend"):
            self._tell(end_s, is_new=event == "open")
        if event in ("close", "scene_changed"):
            self._close()

    def finish(self) -> list[Replayed]:
        if self._machine.state == "active":
            self._close()
        return self._done

    def _be_quiet_until(self, now_s: float) -> None:
        """Windows that were not kept were quiet: an episode that has not been heard of for so long was over by then."""
        machine = self._machine
        if machine.state == "active" and now_s - machine.loud_s >= machine.quiet_s:
            quiet_until_s = machine.loud_s + machine.quiet_s
            machine.step(machine.loud_s, quiet_until_s, 0.0, 0.0, self._calibrator.levels)
            self._close()
        elif machine.state == "suspect" and now_s - machine.loud_s > SUSPECT_QUIET_S:
            machine.reset()

    def _grow(self, window: int, start_s: float, end_s: float, surprise: float, *, is_critical: bool) -> None:
        draft = self._draft
        if draft is None or draft.start_s != self._machine.start_s:
            draft = Replayed(
                feed_id=self._feed_id,
                start_s=self._machine.start_s,
                end_s=end_s,
                peak_s=0.0,
                severity="alert",
                surprise=-1.0,
                window=window,
                suppressed=True,
                provisional=self._calibrator.phase != "calibrated",
            )
        if surprise > draft.surprise:
            draft = dataclasses.replace(draft, surprise=surprise, window=window, peak_s=(start_s + end_s) / 2)
        severity: Severity = "critical" if is_critical else draft.severity
        self._draft = dataclasses.replace(draft, end_s=end_s, severity=severity)

    def _tell(self, now_s: float, *, is_new: bool) -> None:
        """Take a token when it opens, and again when one that got none has become critical."""
        draft = self._draft
        assert draft is not None
        is_critical = draft.severity == "critical"
        if draft.suppressed and (is_new or is_critical) and self._bucket.take(now_s, critical=is_critical):
            self._draft = dataclasses.replace(draft, suppressed=False)

    def _close(self) -> None:
        if self._draft is not None:
            self._done.append(self._draft)
        self._draft = None


def _calibrator(alerts_per_day: float, budget: BudgetSection, known: Known) -> Calibrator:
    calibrator = Calibrator(
        alerts_per_day=alerts_per_day,
        block_s=budget.block_s,
        history_days=budget.history_days,
        warmup_s=budget.warmup_s,
    )
    state = calibrator.state()
    numbers = state["numbers"].copy()
    numbers[-1] = known.seen_s
    calibrator.load({**state, "blocks": known.rows, "numbers": numbers})
    return calibrator
