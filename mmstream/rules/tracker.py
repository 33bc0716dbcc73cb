"""One rule at one feed: from what its windows show and say to its alerts."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from mmstream.alerts import explain
from mmstream.alerts.bucket import TokenBucket
from mmstream.alerts.levels import DAY_S, Levels
from mmstream.alerts.machine import Machine
from mmstream.config import BudgetSection, RuleConfig
from mmstream.rules.likeness import Likeness
from mmstream.rules.phrases import Phrases
from mmstream.types import Alert, alert_id

CONFIRM_WITHIN_S = 300.0
"""Of the feed's own time. A question is answered within half a minute, with nothing if need be; this is for answers
that are lost with a process, and long enough for recordings, which are read much faster than they were filmed."""

HEARD = Levels(critical=math.inf, alert=0.5, low=0.5, notice=0.5)
"""A phrase needs no calibration: heard is 1, not heard is 0."""

MAX_TEXT = 240
MAX_APPROVED = 16
"""An alert is in the event log once for every change of it."""

Confirmation = Literal["", "awaited", "yes", "no", "unclear", "none"]
"""``unclear``: a model was asked and could not say; ``none``: nobody answered in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one window has for a rule."""

    start_s: float
    end_s: float
    margin: float | None = None
    """How much its picture looks like the rule's text; None: no picture, or the text is not known."""
    model: str = ""
    """The model that the margin is of."""
    text: str = ""
    """What was said or written in it."""
    plain: str = ""
    """The same, `phrases.normalised`."""
    history: bool = False


class RuleTracker:
    """A rule's windows in order -> its alerts, told when they open and when they close.

    What it looks like is judged by `Likeness`, with a budget of its own on each camera. A phrase that is heard opens at
    once. Both go through one state machine (so that there is a block at least between two alerts) and one token bucket:
    in any D days at most ``N D + max(2, 2 N)`` are told, the others are ``suppressed``.

    With ``confirm``, what a picture opened is held until `answer`: yes tells it, no keeps it quiet and counted, and
    anything else, or nothing within `CONFIRM_WITHIN_S` of the feed's time, tells it and says that it is unconfirmed.
    """

    def __init__(self, feed_id: str, rule: RuleConfig, budget: BudgetSection) -> None:
        self.rule = rule
        self.text = rule.looks_like.strip()
        self._feed_id = feed_id
        self._phrases = Phrases(rule.says)
        self._likeness = Likeness(rule.alerts_per_day, budget) if self.text else None
        self._machine = Machine(block_s=budget.block_s)
        self._bucket = TokenBucket(per_day=rule.alerts_per_day)
        self._draft: Alert | None = None
        self._heard = ""
        self._confirmation: Confirmation = ""
        self._confirmed_by = ""
        self._learned_s = 0.0
        self._day, self._num_today = -1, 0
        self.num_suppressed = 0
        self.num_denied = 0
        """Alerts that the model of the pictures said no to."""
        self._approved: deque[str] = deque(maxlen=MAX_APPROVED)

    @property
    def awaited(self) -> Alert | None:
        """The alert that is held until a model has looked at it."""
        return self._draft if self._confirmation == "awaited" else None

    def start_live(self) -> None:
        """History is over: alerting starts from nothing."""
        self._machine.reset()
        self._draft, self._confirmation = None, ""
        if self._likeness is not None:
            self._likeness.start_live()

    def push(self, seen: Seen) -> list[Alert]:
        """-> alerts to be stored: opened, closed."""
        likeness = self._likeness
        known = likeness is not None and likeness.look(seen.margin, seen.model, seen.end_s)
        alerts = [] if seen.history else self._step(seen)
        if likeness is not None:
            likeness.learn(
                seen.margin,
                start_s=seen.start_s,
                end_s=seen.end_s,
                known=known,
                live=not seen.history,
                alerting=self._machine.state == "active",
            )
        return alerts

    def answer(self, said: bool | None, model: str) -> list[Alert]:
        """What the model of the pictures said to the alert that is `awaited`: yes, no, or nothing clear."""
        if self.awaited is None:
            return []
        self._confirmed_by = model
        return self._decide("yes" if said else "no" if said is False else "unclear" if model else "none")

    def flush(self) -> list[Alert]:
        """The feed has ended, or the rule has gone: tell what is held, close what is open."""
        self._machine.reset()
        return self._decide("none") if self.awaited is not None else self._close()

    def exclude(self, start_s: float, end_s: float) -> None:
        """What was seen then says nothing about what is ordinary: the camera had been moved, say."""
        if self._likeness is not None:
            self._likeness.calibrator.exclude(start_s, end_s)

    def approve(self, alert: Alert) -> bool:
        """An operator said that it was true: it does not count against the threshold; -> whether that was new."""
        if alert.alert_id in self._approved:
            return False
        self._approved.append(alert.alert_id)
        self.exclude(alert.start_s, alert.end_s)
        if self._likeness is not None and not alert.provisional and "picture" in alert.shares:
            self._likeness.calibrator.forgive()
        return True

    def adopt(self, before: RuleTracker) -> None:
        """Take over from the same rule in other words: its bucket, and what was learned if the text is the same."""
        self._bucket.load(before._bucket.state())
        self._day, self._num_today = before._day, before._num_today
        self.num_suppressed, self.num_denied = before.num_suppressed, before.num_denied
        if before._likeness is not None and self._likeness is not None and before.text == self.text:
            self._likeness.adopt(before._likeness)

    def status(self, at_s: float | None) -> dict[str, Any]:
        """How far it has come here: plain values for the feed's status."""
        state, threshold = "listening", math.inf
        if self._likeness is not None:
            calibrator = self._likeness.calibrator
            threshold = calibrator.levels.alert
            state = "learning" if calibrator.phase == "warmup" else calibrator.phase
        today = self._num_today if at_s is not None and int(at_s // DAY_S) == self._day else 0
        return {
            "state": state,
            "threshold": round(threshold, 3) if math.isfinite(threshold) else None,
            "alerts_today": today,
            "alerts_suppressed": self.num_suppressed,
            "alerts_denied": self.num_denied,
            "windows_learned": 0 if self._likeness is None else len(self._likeness),
            "open_alert": self._draft.alert_id if self._draft is not None and self.awaited is None else None,
        }

    # -- surviving a crash ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Small and JSON, committed with every alert."""
        machine = self._machine
        return {
            "machine": [machine.state, machine.start_s, machine.loud_s, machine.since_s],
            "draft": self._draft.to_json() if self._draft is not None else None,
            "confirmation": [self._heard, self._confirmation, self._confirmed_by, self._learned_s],
            "likeness": self._likeness.state() if self._likeness is not None else None,
            "bucket": self._bucket.state(),
            "counts": [self._day, self._num_today, self.num_suppressed, self.num_denied],
            "approved": list(self._approved),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """A state of the rule before it was changed is taken as far as it fits."""
        machine = self._machine
        machine.state, machine.start_s, machine.loud_s, machine.since_s = state["machine"]
        self._draft = Alert.from_json(state["draft"]) if state["draft"] is not None else None
        self._heard, self._confirmation, self._confirmed_by, self._learned_s = state["confirmation"]
        if self._likeness is not None and state["likeness"] is not None:
            self._likeness.load(state["likeness"])
        self._bucket.load(state["bucket"])
        self._day, self._num_today, self.num_suppressed, self.num_denied = state["counts"]
        self._approved.extend(state["approved"])

    def learned(self) -> dict[str, npt.NDArray[Any]]:
        """What the rule knows of this camera; nothing for one that only listens."""
        return self._likeness.learned() if self._likeness is not None else {}

    def load_learned(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: these are not what `learned` gave."""
        if self._likeness is not None and arrays:
            self._likeness.load_learned(arrays)

    # -- inside ---------------------------------------------------------------------------------------------

    def _step(self, seen: Seen) -> list[Alert]:
        alerts = self._hold_no_longer(seen.end_s)
        heard = self._phrases.find_in(seen.plain)
        likeness = self._likeness
        if heard or likeness is None:
            value = loudness = 1.0 if heard else 0.0
            levels = HEARD
        else:
            value, loudness = likeness.value, max(likeness.value, likeness.surprise)
            levels = likeness.calibrator.levels
        match self._machine.step(seen.start_s, seen.end_s, value, loudness, levels):
            case "open":
                alerts += self._open(seen, heard)
            case "extend":
                self._grow(seen)
            case "close" | "scene_changed" if self.awaited is None:
                alerts += self._close()
        return alerts

    def _open(self, seen: Seen, heard: str) -> list[Alert]:
        before = self._decide("none") if self.awaited is not None else []
        self._heard, self._confirmation, self._confirmed_by = heard, "", ""
        surprise, every_s, provisional = 0.0, 0.0, False
        likeness = self._likeness
        if likeness is not None and not heard:
            calibrator = likeness.calibrator
            calibrator.count_opening()
            surprise, every_s = max(likeness.value, likeness.surprise), calibrator.expected_every_s(likeness.value)
            provisional, self._learned_s = calibrator.phase != "calibrated", calibrator.seen_s
        self._draft = Alert(
            alert_id=alert_id(self._feed_id, self._machine.start_s, self.rule.name),
            feed_id=self._feed_id,
            start_s=self._machine.start_s,
            end_s=seen.end_s,
            state="open",
            severity="alert",
            surprise=surprise,
            peak_s=(seen.start_s + seen.end_s) / 2,
            expected_every_s=every_s,
            shares={"words": 1.0} if heard else {"picture": 1.0},
            provisional=provisional,
            kind="rule",
            cause=self.rule.name,
            alerts_per_day=self.rule.alerts_per_day,
            text=seen.text[:MAX_TEXT],
            models=(seen.model,) if seen.model and not heard else (),
        )
        if self.rule.confirm and not heard:
            self._confirmation = "awaited"
            return before
        return before + self._decide("")

    def _grow(self, seen: Seen) -> None:
        draft = self._draft
        if draft is None:
            return
        changes: dict[str, Any] = {"end_s": seen.end_s}
        if self._likeness is not None and self._likeness.surprise > draft.surprise and not self._heard:
            changes |= {"surprise": self._likeness.surprise, "peak_s": (seen.start_s + seen.end_s) / 2}
        if seen.text and seen.text not in draft.text:
            changes["text"] = f"{draft.text} {seen.text}".strip()[:MAX_TEXT]
        self._draft = dataclasses.replace(draft, **changes)

    def _hold_no_longer(self, now_s: float) -> list[Alert]:
        awaited = self.awaited
        if awaited is None or now_s - awaited.start_s < CONFIRM_WITHIN_S:
            return []
        return self._decide("none")

    def _decide(self, confirmation: Confirmation) -> list[Alert]:
        """Tell the draft, or keep it quiet; closed at once if it was over before it was decided."""
        draft = self._draft
        assert draft is not None
        self._confirmation = confirmation
        if confirmation == "no":
            self.num_denied += 1
            draft = dataclasses.replace(draft, suppressed=True)
        elif self._bucket.take(draft.end_s):
            day = int(draft.end_s // DAY_S)
            self._day, self._num_today = day, self._num_today + 1 if day == self._day else 1
            draft = dataclasses.replace(draft, number_today=self._num_today)
        else:
            self.num_suppressed += 1
            draft = dataclasses.replace(draft, suppressed=True)
        if self._confirmed_by:
            draft = dataclasses.replace(draft, models=(*draft.models, self._confirmed_by))
        self._draft = draft
        return [self._say(draft)] if self._machine.state == "active" else self._close()

    def _close(self) -> list[Alert]:
        draft, self._draft = self._draft, None
        if draft is None:
            return []
        return [self._say(dataclasses.replace(draft, state="closed"), draft.end_s - draft.start_s)]

    def _say(self, alert: Alert, lasted_s: float | None = None) -> Alert:
        said = explain.say_rule(
            alert,
            subject=self._heard or self.text,
            heard=bool(self._heard),
            confirmation=self._confirmation,
            learned_s=self._learned_s,
            lasted_s=lasted_s,
        )
        return dataclasses.replace(alert, sentence=said["en"], sentences=said)
