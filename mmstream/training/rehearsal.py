"""One feed's path from what encoders say to alerts, walked over footage instead of a live stream.

The parts are those of the live path: memory, fusion, debouncing, calibration, the alert machine. Only time differs:
footage is a sample, a few seconds out of every minute or ten, so a burst stands for a block of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmstream.alerts.blocks import Blocks, in_steps
from mmstream.alerts.calibrate import MAX_RATE, Calibrator
from mmstream.alerts.debounce import Debounce, tie_jitter
from mmstream.alerts.levels import DAY_S, NEVER, Levels
from mmstream.alerts.machine import count_openings, quiet_s_of
from mmstream.fusion.evidence import HarmonicMean
from mmstream.normality.lessons import Lesson
from mmstream.normality.memory import Memory
from mmstream.stages import Fuser
from mmstream.training.footage import Burst
from mmstream.types import AlignedWindow, Channel, Embedding

BLOCK_S = 300.0
"""What a burst stands for: the calibration block of a site as it is shipped."""
LEAST_RANK = 3
"""The threshold is the third largest maximum at least: one or two of a few dozen bursts are too few to set it by.
On little footage the budget is therefore looser than the site's, for both sides alike."""
MOST_SHARE = 0.25
"""Of the bursts may have an alert at most, whatever the budget: from a third on they hardly open any but those of their
neighbours, and their number is no measure of the rate any more."""
EDGE_S = 1e-3
_HISTORY_DAYS = 366.0
_CELLS = Blocks(block_s=BLOCK_S, quiet_s=quiet_s_of(BLOCK_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """How unusual a burst is."""

    value: float
    """Highest debounced surprise."""
    known: bool
    """Whether there was any evidence."""
    lessons: tuple[Lesson, ...]
    """What can be learned from it, a lesson per window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What the production calibrator makes of the maxima of past bursts."""

    levels: Levels
    rank: int
    num_blocks: int

    def is_alert(self, value: float) -> bool:
        return value > self.levels.alert

    def above(self, value: float) -> float:
        """How far it is above the threshold; -100 where there is none."""
        return value - self.levels.alert if math.isfinite(self.levels.alert) else -100.0


class Rehearsal:
    """One feed: weigh first, learn after, as live."""

    def __init__(self, channels: Mapping[str, Channel], fuser: Fuser | None = None) -> None:
        self.memory = Memory(channels)
        self._fuser: Fuser = fuser if fuser is not None else HarmonicMean()

    def hear(self, burst: Burst, embeddings: Sequence[Sequence[Embedding]]) -> Heard:
        """``embeddings``: per glimpse, of every channel that has something to say. Nothing is learned.

        Raises:
            ValueError: not one list per glimpse.
        """
        debounce = Debounce()
        value, known = 0.0, False
        lessons = []
        for glimpse, found in zip(burst.glimpses, embeddings, strict=True):
            window = AlignedWindow(
                feed_id=burst.feed_id,
                start_s=glimpse.start_s,
                end_s=glimpse.end_s,
                embeddings=tuple(found),
                mode=glimpse.mode,
            )
            weighed = self.memory.weigh(window)
            surprise, shares = self._fuser.fuse(weighed.aspects)
            value = max(value, debounce.push(surprise + weighed.bonus))
            known = known or bool(shares)
            lessons.append(weighed.lesson)
        return Heard(value=value + tie_jitter(burst.end_s), known=known, lessons=tuple(lessons))

    def learn(self, heard: Heard) -> None:
        """What was normal; with the delay that live windows have."""
        for lesson in heard.lessons:
            self.memory.keep(lesson, hold=False)

    def absorb(self, heard: Heard, alert_id: str) -> None:
        """It was an alert, and an operator called it false."""
        self._put_away(heard, alert_id)
        self.memory.absorb(alert_id)

    def _put_away(self, heard: Heard, alert_id: str) -> None:
        for lesson in heard.lessons:
            self.memory.keep(lesson, hold=True)
        self.memory.discard(heard.lessons[0].end_s - EDGE_S, alert_id)


def calibrated(maxima: Sequence[float], *, alerts_per_day: float) -> Threshold:
    """The threshold that the production `Calibrator` sets after one block per burst.

    As many alerts per burst are allowed as the budget allows per block of 300 s, but never so few that fewer than
    `LEAST_RANK` of the maxima would decide.
    """
    count = len(maxima)
    if not count:
        return Threshold(levels=NEVER, rank=1, num_blocks=1)
    rate = min(MAX_RATE, max(min(alerts_per_day * BLOCK_S / DAY_S, MOST_SHARE), (LEAST_RANK + 0.5) / (count + 1)))
    calibrator = Calibrator(
        alerts_per_day=rate * DAY_S / BLOCK_S, block_s=BLOCK_S, history_days=_HISTORY_DAYS, warmup_s=0.0
    )
    for number, value in enumerate([*maxima, 0.0]):  # the last only closes the one before
        calibrator.observe(
            value, start_s=number * BLOCK_S, end_s=(number + 1) * BLOCK_S - EDGE_S, known=True, live=False
        )
    calibrator.allow(rate * DAY_S / BLOCK_S)  # of many days the threshold is that of the last midnight, else
    levels = calibrator.levels
    # what is ordinary is no alert however large the budget: then fewer were above than it allows (`levels.LEAST`)
    num_above = sum(value > levels.alert for value in maxima)
    rank = max(1, min(math.floor(rate * (calibrator.num_blocks + 1)), num_above + 1))
    return Threshold(levels=levels, rank=rank, num_blocks=calibrator.num_blocks)


def num_openings(maxima: Sequence[float], threshold: Threshold) -> int:
    """How many alerts the machine opens over these bursts, one block each, as calibration counts them."""
    if not maxima or not math.isfinite(threshold.levels.alert):
        return 0
    last_cell_s = BLOCK_S - _CELLS.cell_s
    return count_openings(
        np.arange(len(maxima), dtype=np.float64) * BLOCK_S + last_cell_s,
        np.array([in_steps(value) for value in maxima]),
        cell_s=_CELLS.cell_s,
        alert=in_steps(threshold.levels.alert),
        low=in_steps(threshold.levels.low),
        block_s=BLOCK_S,
    )
