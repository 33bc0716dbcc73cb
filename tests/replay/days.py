"""Days of one feed, made up and alerted on in earnest: what a replay is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.tracker import AlertTracker
from mmstream.analysis import Judgement
from mmstream.config import BudgetSection
from mmstream.fusion.evidence import HarmonicMean
from mmstream.stripping import Stripper
from mmstream.types import Alert, Evidence, Modality, Score, Strip

DAY_S = 86_400.0
BEGIN_S = 20_000 * DAY_S
ASPECTS: tuple[tuple[str, Modality, float], ...] = (
    ("motion", "picture", 1.0),
    ("look", "picture", 0.5),
    ("sound", "sound", 1.0),
)


@dataclass
class Days:
    """One feed from its first window on."""

    budget: BudgetSection
    alerts_per_day: float
    feed_id: str = "gate"
    alerts: dict[str, Alert] = field(default_factory=dict)
    strips: list[Strip] = field(default_factory=list)
    num_windows: int = 0

    def __post_init__(self) -> None:
        self.calibrator = Calibrator(
            alerts_per_day=self.alerts_per_day,
            block_s=self.budget.block_s,
            history_days=self.budget.history_days,
            warmup_s=self.budget.warmup_s,
        )
        self._tracker = AlertTracker(self.feed_id, calibrator=self.calibrator)
        self._stripper = Stripper(block_s=self.budget.block_s)
        self._fuser = HarmonicMean()

    @property
    def told(self) -> list[Alert]:
        return [a for a in self.alerts.values() if a.severity != "notice" and not a.suppressed]

    def live(self, heights: Sequence[Sequence[float]], *, start_s: float = BEGIN_S) -> None:
        """A window a second; each with a -log10 p per aspect."""
        for number, row in enumerate(heights):
            judgement = self._judge(start_s + number, row)
            strip = self._stripper.push(judgement)
            if strip is not None:
                self.strips.append(strip)
            self.num_windows += 1

    def end(self) -> None:
        self.alerts |= {alert.alert_id: alert for alert in self._tracker.flush().alerts}
        strip = self._stripper.finish(self.feed_id)
        if strip is not None:
            self.strips.append(strip)

    def _judge(self, start_s: float, row: Sequence[float]) -> Judgement:
        aspects = tuple(
            Evidence(channel=name, modality=modality, p=math.pow(10.0, -height), weight=weight)
            for (name, modality, weight), height in zip(ASPECTS, row, strict=True)
            if not math.isnan(height)
        )
        surprise, shares = self._fuser.fuse(aspects)
        where = {"feed_id": self.feed_id, "start_s": start_s, "end_s": start_s + 2.0}
        score = Score(**where, surprise=surprise, shares=shares, evidence=aspects)  # type: ignore[arg-type]
        decision = self._tracker.push(score)
        self.alerts |= {alert.alert_id: alert for alert in decision.alerts}
        return Judgement(
            feed_id=self.feed_id,
            start_s=start_s,
            end_s=start_s + 2.0,
            score=score,
            alerts=decision.alerts,
            phase=self.calibrator.phase,
            history=False,
            suspect=decision.hold,
            aspects=aspects,
        )


def ordinary(num_windows: int, *, seed: int = 3, events: int = 12) -> list[list[float]]:
    """-log10 p of windows that overlap, as of a street; some minutes of it are unusual in one aspect."""
    rng = np.random.default_rng(seed)
    steps = rng.exponential(1.0 / math.log(10.0), (num_windows + 2, len(ASPECTS)))
    heights = (steps[:-2] + steps[1:-1] + steps[2:]) / 2.0  # neighbours share two of three seconds
    for at in rng.integers(0, num_windows - 30, events):
        heights[at : at + int(rng.integers(3, 25)), int(rng.integers(0, len(ASPECTS)))] += rng.uniform(1.5, 4.0)
    return np.round(np.minimum(heights, 8.0), 3).tolist()  # type: ignore[no-any-return]
