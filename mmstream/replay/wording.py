"""Rules of phrases tried on what was said in the past: through the same `RuleTracker` as in earnest."""

from __future__ import annotations

from collections.abc import Sequence

from mmstream.alerts.machine import quiet_s_of
from mmstream.config import BudgetSection, RuleConfig
from mmstream.rules.phrases import normalised
from mmstream.rules.tracker import RuleTracker, Seen
from mmstream.types import Alert
from mmstream.windowing import WINDOW_S

Spoken = tuple[float, float, str]
"""(start_s, end_s, what was said or written) of one kept window."""


def heard(feed_id: str, rule: RuleConfig, spoken: Sequence[Spoken], budget: BudgetSection) -> list[Alert]:
    """The alerts that the rule would have told, closed. ``spoken`` in time order; between them nobody spoke."""
    tracker = RuleTracker(feed_id, rule, budget)
    tracker.start_live()
    quiet_s = quiet_s_of(budget.block_s) + WINDOW_S
    told: dict[str, Alert] = {}
    last_s: float | None = None
    for start_s, end_s, text in spoken:
        alerts: list[Alert] = []
        if last_s is not None and start_s > last_s + quiet_s:
            alerts += tracker.push(Seen(start_s=last_s + quiet_s - WINDOW_S, end_s=last_s + quiet_s))
        alerts += tracker.push(Seen(start_s=start_s, end_s=end_s, text=text, plain=normalised(text)))
        told |= {alert.alert_id: alert for alert in alerts}
        last_s = end_s
    told |= {alert.alert_id: alert for alert in tracker.flush()}
    return [alert for alert in told.values() if not alert.suppressed]
