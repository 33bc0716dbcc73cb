"""The states of an alert, and how often they would have led to one: the same machine lives and replays."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmstream.alerts.levels import Levels
from mmstream.types import Float64

State = Literal["normal", "suspect", "active", "cooldown"]
Event = Literal["idle", "suspect", "hold", "calm", "open", "extend", "close", "scene_changed"]

SUSPECT_QUIET_S = 3.0
"""A suspicion ends after so long below the notice level."""

SUSPECT_MAX_S = 60.0
"""A suspicion that has not become an alert by then is taken as normal."""

SCENE_CHANGED_S = 1800.0
"""So long is no event any more."""


def quiet_s_of(block_s: float) -> float:
    """An alert closes after so long below the low level."""
    return min(15.0, max(3.0, block_s / 4.0))


class Machine:
    """NORMAL -> SUSPECT (score reaches the notice level) -> ACTIVE (debounced score above the alert
    level) -> closed after a quiet time below the low level -> COOLDOWN of one block -> NORMAL.

    Openings are more than a block apart, so no clock-aligned block holds two.
    """

    def __init__(self, *, block_s: float) -> None:
        self._block_s = block_s
        self.quiet_s = quiet_s_of(block_s)
        self.reset()

    def reset(self) -> None:
        self.state: State = "normal"
        self.start_s = 0.0
        """Start of the episode's first unusual window."""
        self.loud_s = 0.0
        """End of its last."""
        self.since_s = 0.0
        """When it became active, or when the cooldown began."""

    def step(self, start_s: float, end_s: float, value: float, loudness: float, levels: Levels) -> Event:
        """One window: ``value`` is debounced, ``loudness`` the higher of it and the window's own score."""
        if self.state == "active":
            return self._stay(start_s, end_s, value, levels)
        if self.state == "cooldown":
            if end_s < self.since_s + self._block_s:
                return "idle"
            self.state = "normal"
        loud = loudness >= levels.notice
        if self.state == "normal" and not loud:
            return "idle"
        # a gap in the feed ends a suspicion: what comes after it is another episode
        if self.state == "normal" or start_s - self.loud_s > SUSPECT_QUIET_S:
            self.state, self.start_s, self.loud_s = "suspect", start_s, end_s
        if loud:
            self.loud_s = end_s
        if value > levels.alert:
            self.state, self.since_s = "active", end_s
            return "open"
        if end_s - self.loud_s > SUSPECT_QUIET_S or end_s - self.start_s > SUSPECT_MAX_S:
            self.state = "normal"
            return "calm"
        return "suspect" if loud else "hold"

    def _stay(self, start_s: float, end_s: float, value: float, levels: Levels) -> Event:
        if value <= levels.low or start_s - self.loud_s > self.quiet_s:
            if end_s - self.loud_s < self.quiet_s:
                return "hold"
            self.state, self.since_s = "cooldown", end_s
            return "close"
        self.loud_s = end_s
        if end_s - self.since_s > SCENE_CHANGED_S:
            self.state, self.since_s = "cooldown", end_s
            return "scene_changed"
        return "extend"


def count_openings(
    starts_s: Float64, values: Float64, *, cell_s: float, alert: float, low: float, block_s: float
) -> int:
    """How many alerts the machine opens over past maxima of cells of ``cell_s``, oldest first.

    Cells at or below ``low`` cannot open or prolong anything, so only the others are stepped through.
    """
    levels = Levels(critical=alert, alert=alert, low=low, notice=alert)
    machine = Machine(block_s=block_s)
    machine.since_s = -np.inf
    above = values > low
    openings = 0
    for start_s, value in zip(starts_s[above].tolist(), values[above].tolist(), strict=True):
        if machine.state == "active" and start_s - machine.loud_s >= machine.quiet_s:
            quiet_until_s = machine.loud_s + machine.quiet_s
            machine.step(machine.loud_s, quiet_until_s, 0.0, 0.0, levels)
        openings += machine.step(start_s, start_s + cell_s, value, value, levels) == "open"
    return openings
