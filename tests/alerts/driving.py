"""Drives the production tracker and calibrator over made scores, and says what it raised."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import betabinom

from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.levels import DAY_S
from mmstream.alerts.tracker import AlertTracker, Decision
from mmstream.types import Alert, Float64, Score

BLOCK_S = 300.0
START_S = 20_000 * DAY_S


@dataclass
class Outcome:
    """What was raised after the history: told and suppressed alerts both, for both passed the threshold."""

    tracker: AlertTracker
    calibrator: Calibrator
    opened_s: list[float] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)

    @property
    def notices(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.severity == "notice"]


def make_calibrator(alerts_per_day: float = 2.0, **changes: float) -> Calibrator:
    settings = {"block_s": BLOCK_S, "history_days": 14.0, "warmup_s": 0.0} | changes
    return Calibrator(alerts_per_day=alerts_per_day, **settings)  # type: ignore[arg-type]


def make_score(value: float, *, start_s: float, hop_s: float, history: bool = False) -> Score:
    return Score(
        feed_id="a",
        start_s=start_s,
        end_s=start_s + hop_s,
        surprise=value,
        shares={"picture": 1.0},
        history=history,
    )


def drive(
    scores: Float64, *, hop_s: float, history_days: float, alerts_per_day: float, start_s: float = START_S
) -> Outcome:
    """``history_days`` of the scores teach; the rest is live."""
    calibrator = make_calibrator(alerts_per_day)
    outcome = Outcome(AlertTracker("a", calibrator=calibrator), calibrator)
    live_s = start_s + history_days * DAY_S
    for number, value in enumerate(scores.tolist()):
        at_s = start_s + number * hop_s
        score = make_score(value, start_s=at_s, hop_s=hop_s, history=at_s + hop_s <= live_s)
        note(outcome, outcome.tracker.push(score), at_s + hop_s)
    return outcome


def note(outcome: Outcome, decision: Decision, end_s: float) -> None:
    if decision.opened:
        outcome.opened_s.append(end_s)
    for alert in decision.alerts:
        outcome.alerts[alert.alert_id] = alert


def surprises(normals: Float64) -> Float64:
    """-log10 of the p-values of standard normal scores."""
    return np.asarray(-log_ndtr(-normals) / math.log(10))


def autoregressive(random: np.random.Generator, *, steps: int, cameras: int, phi: float) -> Float64:
    """(cameras, steps) standard normal, each step ``phi`` of the one before."""
    values = random.normal(size=(steps, cameras))
    for step in range(1, steps):
        values[step] = phi * values[step - 1] + math.sqrt(1 - phi**2) * values[step]
    return np.asarray(values.T)


def theory(alerts_per_day: float, history_days: float, live_days: float, cameras: int = 1) -> tuple[int, int]:
    """The 99.9 % interval of the number of alerts of so many cameras together: a sum of beta-binomials."""
    blocks, tested = round(history_days * DAY_S / BLOCK_S), round(live_days * DAY_S / BLOCK_S)
    rank = math.floor(alerts_per_day * BLOCK_S / DAY_S * (blocks + 1))
    single = betabinom.pmf(np.arange(tested + 1), tested, rank, blocks + 1 - rank)
    single = single[: np.flatnonzero(single > 1e-12)[-1] + 1]
    together = np.ones(1)
    for _ in range(cameras):
        together = np.convolve(together, single)
    share = np.cumsum(together) / together.sum()
    return int(np.searchsorted(share, 0.0005)), int(np.searchsorted(share, 0.9995))
