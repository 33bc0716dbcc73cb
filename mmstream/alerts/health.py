"""Is the camera itself in order? From what `alerts.symptoms` finds to alerts, outside the budget of unusual ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.alerts import explain
from mmstream.alerts.symptoms import PICTURE_CAUSES, Symptoms
from mmstream.types import Alert, Condition, HealthCause, Modality, alert_id

MODALITY_OF: Mapping[HealthCause, Modality] = {
    **dict.fromkeys(PICTURE_CAUSES, "picture"),
    "mute": "sound",
    "clipped": "sound",
}
"""What a fault makes worthless; of the others nothing comes anyway, or nothing is lost."""

GAP_S = 2.5
"""A fault that shows itself this soon again has not been interrupted."""
CLEAR_S = 4.0
"""It has ended when it has not shown itself for so long."""
SETTLE_S = 20.0
"""What a fault has left in the encoders (what stays, what the last minute was like) is gone by then. Composed cameras:
every second tampering was followed by an alert that something had been left behind."""
RATE_LIMIT_S = 3600.0
"""Per cause: flapping is told once an hour."""


@dataclass(slots=True)
class Fault:
    """One cause, from the first window that showed it."""

    since_s: float
    last_s: float
    confirmed: bool = False
    alert: Alert | None = None
    """None while it is too short, or when the hour's alert of its cause was told already."""


class HealthTracker:
    """`Condition`s of one feed, in order -> alerts that open and close.

    A fault is relative to this camera's own hour and must last its hold-off; night comes slowly, and
    becomes usual. One alert per cause and hour at most. The alert's id is computed from the data, and
    conditions up to the last one judged are ignored: what is sent again after a crash doubles nothing.

    ``scene`` counts the views that the camera has had: whoever learns what is normal keeps it apart.
    """

    def __init__(self, feed_id: str) -> None:
        self._feed_id = feed_id
        self._judged_s: float | None = None
        self._faults: dict[HealthCause, Fault] = {}
        self._told_s: dict[HealthCause, float] = {}
        self._settled_s: dict[Modality, float] = {}
        """When what came after a fault can be trusted again."""
        self._symptoms = Symptoms()
        self.num_limited = 0

    @property
    def ill(self) -> frozenset[Modality]:
        """Modalities that tell nothing about the scene just now."""
        faulty = frozenset(MODALITY_OF[c] for c, fault in self._faults.items() if fault.confirmed and c in MODALITY_OF)
        return faulty | self._settling

    @property
    def unusable(self) -> frozenset[Modality]:
        """Of those, what cannot even be learned from: a camera that was moved does see, something else."""
        faults = [cause for cause, fault in self._faults.items() if fault.confirmed and cause != "moved"]
        return frozenset(MODALITY_OF[cause] for cause in faults if cause in MODALITY_OF) | self._settling

    @property
    def causes(self) -> tuple[HealthCause, ...]:
        """What is wrong now."""
        return tuple(cause for cause, fault in self._faults.items() if fault.confirmed)

    @property
    def scene(self) -> int:
        return self._symptoms.views.current

    @property
    def scenes(self) -> frozenset[int]:
        """Those that would be recognised."""
        return self._symptoms.views.numbers

    def push(self, condition: Condition) -> list[Alert]:
        """-> alerts opened and closed by this condition."""
        symptoms = self._symptoms
        if condition.history:
            symptoms.findings(condition, ())
            symptoms.learn(condition, ())
            return []
        if self._judged_s is not None and condition.end_s <= self._judged_s:
            return []
        self._judged_s = condition.end_s
        told, found = symptoms.tellable(condition), symptoms.findings(condition, self._faults)
        alerts = []
        for cause in sorted(told):
            hold_s = found.get(cause)
            if hold_s is not None:
                alerts += self._shown(cause, condition, hold_s)
            else:
                alerts += self._not_shown(cause, condition)
        symptoms.learn(condition, self._faults)
        return alerts

    def flush(self) -> list[Alert]:
        """The recording has ended: close what is open."""
        alerts = [self._closed(fault) for fault in self._faults.values() if fault.alert is not None]
        self._faults = {}
        return alerts

    # -- what follows --------------------------------------------------------------------------------

    def _shown(self, cause: HealthCause, c: Condition, hold_s: float) -> list[Alert]:
        fault = self._faults.get(cause)
        if fault is not None and not fault.confirmed and c.start_s - fault.last_s > GAP_S and cause != "moved":
            fault = None
        if fault is None:
            fault = self._faults[cause] = Fault(since_s=self._began_s(cause, c), last_s=c.end_s)
        fault.last_s = c.end_s
        if fault.alert is not None:
            fault.alert = dataclasses.replace(fault.alert, end_s=max(fault.alert.end_s, c.end_s))
            return []
        if not fault.confirmed and c.end_s - fault.since_s < hold_s:
            return []
        if not fault.confirmed and cause == "moved" and c.view is not None:
            self._symptoms.moved(c.view, c)
        limited = c.end_s - self._told_s.get(cause, -RATE_LIMIT_S) < RATE_LIMIT_S
        self.num_limited += limited and not fault.confirmed
        fault.confirmed = True
        if limited:
            return []
        self._told_s[cause] = c.end_s
        fault.alert = self._alert(cause, fault, c)
        return [fault.alert]

    def _not_shown(self, cause: HealthCause, c: Condition) -> list[Alert]:
        fault = self._faults.get(cause)
        if fault is None or c.end_s - fault.last_s < (CLEAR_S if fault.confirmed else GAP_S):
            return []
        del self._faults[cause]
        if fault.confirmed and cause in MODALITY_OF:
            self._settled_s[MODALITY_OF[cause]] = c.end_s + SETTLE_S
        return [self._closed(fault)] if fault.alert is not None else []

    @property
    def _settling(self) -> frozenset[Modality]:
        now_s = self._judged_s if self._judged_s is not None else 0.0
        return frozenset(modality for modality, until_s in self._settled_s.items() if now_s < until_s)

    @staticmethod
    def _began_s(cause: HealthCause, c: Condition) -> float:
        match cause:
            case "offline":
                return c.end_s - c.silent_s
            case "frozen":
                return c.end_s - max(c.no_picture_s, c.still_s or 0.0)
            case _:
                return c.start_s

    def _alert(self, cause: HealthCause, fault: Fault, c: Condition) -> Alert:
        alert = Alert(
            alert_id=alert_id(self._feed_id, fault.since_s, cause),
            feed_id=self._feed_id,
            start_s=fault.since_s,
            end_s=c.end_s,
            state="open",
            severity="alert",
            surprise=0.0,
            peak_s=fault.since_s if cause == "offline" else (c.start_s + c.end_s) / 2,
            expected_every_s=RATE_LIMIT_S,
            shares={},
            kind="health",
            cause=cause,
        )
        return _told(alert, None)

    @staticmethod
    def _closed(fault: Fault) -> Alert:
        assert fault.alert is not None
        closed = dataclasses.replace(fault.alert, state="closed", end_s=max(fault.alert.end_s, fault.last_s))
        return _told(closed, closed.end_s - closed.start_s)

    # -- surviving a crash -----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Small and JSON, committed with every alert."""
        faults = {
            cause: [f.since_s, f.last_s, f.confirmed, f.alert.to_json() if f.alert is not None else None]
            for cause, f in self._faults.items()
        }
        return {
            "judged_s": self._judged_s,
            "faults": faults,
            "told_s": dict(self._told_s),
            "settled_s": dict(self._settled_s),
            "scene": self._symptoms.state(),
            "num_limited": self.num_limited,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._judged_s = state["judged_s"]
        self._faults = {
            cause: Fault(since_s, last_s, confirmed, Alert.from_json(alert) if alert is not None else None)
            for cause, (since_s, last_s, confirmed, alert) in state["faults"].items()
        }
        self._told_s = dict(state["told_s"])
        self._settled_s = dict(state.get("settled_s", {}))
        self._symptoms.load(state["scene"])
        self.num_limited = state["num_limited"]

    def learned(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """-> (JSON, arrays): what is usual, and the views; larger, kept with what else was learned."""
        return self._symptoms.learned()

    def load_learned(self, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.float16]]) -> None:
        """Raises KeyError or ValueError when these are not what `learned` gave."""
        self._symptoms.load_learned(record, arrays)


def _told(alert: Alert, lasted_s: float | None) -> Alert:
    said = explain.say(alert, learned_s=0.0, lasted_s=lasted_s)
    return dataclasses.replace(alert, sentence=said["en"], sentences=said)
