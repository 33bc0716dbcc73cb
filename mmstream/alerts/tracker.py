"""From scores to alerts: when one opens, grows and closes, and what must not be learned meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmstream.alerts import explain
from mmstream.alerts.calibrate import DAY_S, Calibrator, Debounce, Levels, TokenBucket
from mmstream.types import Alert, Explanation, Score, alert_id

State = Literal["normal", "suspect", "active", "cooldown"]

SUSPECT_QUIET_S = 3.0
"""A suspicion ends after so long below the notice level."""

SUSPECT_MAX_S = 60.0
"""A suspicion that has not become an alert by then is taken as normal."""

SCENE_CHANGED_S = 1800.0
PEAK_STEP = 0.5
"""An open alert is told again when its surprise has grown by so much since it was last told."""

MAX_TEXT = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one window led to."""

    alerts: tuple[Alert, ...] = ()
    opened: bool = False
    """The alert is new."""
    hold: bool = False
    """Do not learn from what has not been learned yet: something may be going on."""
    discard_from_s: float | None = None
    """An episode has ended: never learn what starts at or after this."""


class AlertTracker:
    """NORMAL -> SUSPECT (score reaches the notice level) -> ACTIVE (debounced score above the alert
    level, within the bucket) -> closed after a quiet time below the low level -> COOLDOWN of one
    block -> NORMAL. An alert starts with the first suspect window of its episode.

    One that finds the bucket empty goes the same way, untold and counted (``num_suppressed``). One
    that is active for half an hour closes: the scene has changed, and what was held back is learned.
    """

    def __init__(self, feed_id: str, *, calibrator: Calibrator) -> None:
        self._feed_id = feed_id
        self._calibrator = calibrator
        self._bucket = TokenBucket(per_day=calibrator.alerts_per_day)
        self._quiet_s = min(15.0, max(3.0, calibrator.block_s / 4.0))
        self._debounce = Debounce()
        self._state: State = "normal"
        self._draft: Alert | None = None
        self._suppressed = False
        self._why: Callable[[], Explanation] = Explanation
        self._told = 0.0
        self._since_s = 0.0
        self._day, self._num_today = -1, 0
        self.num_suppressed = 0

    @property
    def open_alert(self) -> Alert | None:
        return self._draft if self._state == "active" and not self._suppressed else None

    def start_live(self) -> None:
        """History is over: alerting starts from nothing."""
        self._debounce = Debounce()
        self._state, self._draft = "normal", None

    def push(self, score: Score, why: Callable[[], Explanation] = Explanation) -> Decision:
        """``why`` is asked only when this window is the highest of an episode so far."""
        value = self._debounce.push(score.surprise)
        self._why = why
        decision = Decision() if score.history else self._step(score, value, self._calibrator.levels)
        self._calibrator.observe(value, start_s=score.start_s, end_s=score.end_s, known=bool(score.shares))
        return decision

    def flush(self) -> Decision:
        """The feed has ended: close what is open."""
        if self._state == "active" and self._draft is not None:
            return self._close(self._draft.end_s)
        self._state, self._draft = "normal", None
        return Decision()

    def alerts_on(self, at_s: float) -> int:
        """How many alerts opened on the (UTC) day of that moment."""
        return self._num_today if int(at_s // DAY_S) == self._day else 0

    def state(self) -> dict[str, Any]:
        """Small and JSON: all that `load` needs to go on as if nothing had happened."""
        return {
            "state": self._state,
            "draft": self._draft.to_json() if self._draft is not None else None,
            "suppressed": self._suppressed,
            "told": self._told,
            "since_s": self._since_s,
            "recent": list(self._debounce.recent),
            "tokens": self._bucket.tokens,
            "filled_s": self._bucket.filled_s if self._bucket.filled_s > -DAY_S else None,
            "today": [self._day, self._num_today],
            "num_suppressed": self.num_suppressed,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._state = state["state"]
        self._draft = Alert.from_json(state["draft"]) if state["draft"] is not None else None
        self._suppressed, self._told = state["suppressed"], state["told"]
        self._since_s = state["since_s"]
        before, last = state["recent"]
        self._debounce = Debounce((before, last))
        # a smaller budget since then must not inherit a fuller bucket
        self._bucket.tokens = min(state["tokens"], self._bucket.capacity)
        if state["filled_s"] is not None:
            self._bucket.filled_s = state["filled_s"]
        self._day, self._num_today = state["today"]
        self.num_suppressed = state["num_suppressed"]

    def _step(self, score: Score, value: float, levels: Levels) -> Decision:
        if self._state == "active" and self._draft is not None:
            return self._continue(self._draft, score, value, levels)
        if self._state == "cooldown" and score.end_s < self._since_s + self._calibrator.block_s:
            return Decision()
        loud = max(value, score.surprise) >= levels.notice
        if self._draft is None:
            if not loud:
                self._state = "normal"
                return Decision()
            self._state, self._draft = "suspect", self._new(score)
        if loud:
            self._draft = self._grown(self._draft, score, value)
        if value > levels.alert:
            return self._open(self._draft, score, value)
        quiet = score.end_s - self._draft.end_s > SUSPECT_QUIET_S
        if quiet or score.end_s - self._draft.start_s > SUSPECT_MAX_S:
            self._state, self._draft = "normal", None
        return Decision(hold=self._draft is not None)

    def _open(self, draft: Alert, score: Score, value: float) -> Decision:
        self._draft = self._grown(draft, score, value)
        self._state, self._since_s = "active", score.end_s
        self._suppressed = not self._bucket.take(score.end_s)
        if self._suppressed:
            self.num_suppressed += 1
            return Decision(hold=True)
        day = int(score.end_s // DAY_S)
        self._day, self._num_today = day, self._num_today + 1 if day == self._day else 1
        return Decision(alerts=(self._tell(self._draft),), opened=True, hold=True)

    def _continue(self, draft: Alert, score: Score, value: float, levels: Levels) -> Decision:
        silent_s = score.start_s - draft.end_s
        if value <= levels.low or silent_s > self._quiet_s:
            return self._close(score.end_s) if score.end_s - draft.end_s >= self._quiet_s else Decision(hold=True)
        self._draft = draft = self._grown(draft, score, value)
        if score.end_s - self._since_s > SCENE_CHANGED_S:
            return self._close(score.end_s, scene_changed=True)
        if not self._suppressed and draft.surprise >= self._told + PEAK_STEP:
            return Decision(alerts=(self._tell(draft),), hold=True)
        return Decision(hold=True)

    def _close(self, now_s: float, *, scene_changed: bool = False) -> Decision:
        assert self._draft is not None
        draft = dataclasses.replace(self._draft, state="closed")
        self._state, self._draft, self._since_s = "cooldown", None, now_s
        alerts = () if self._suppressed else (self._tell(draft, draft.end_s - draft.start_s, scene_changed),)
        return Decision(alerts=alerts, discard_from_s=None if scene_changed else draft.start_s)

    def _new(self, score: Score) -> Alert:
        return Alert(
            alert_id=alert_id(self._feed_id, score.start_s),
            feed_id=self._feed_id,
            start_s=score.start_s,
            end_s=score.end_s,
            state="open",
            severity="alert",
            surprise=-1.0,
            peak_s=(score.start_s + score.end_s) / 2,
            expected_every_s=self._calibrator.block_s,
            shares={},
            provisional=self._calibrator.phase != "calibrated",
        )

    def _grown(self, alert: Alert, score: Score, value: float) -> Alert:
        calibrator = self._calibrator
        changes: dict[str, Any] = {"end_s": score.end_s}
        changes["expected_every_s"] = max(alert.expected_every_s, calibrator.expected_every_s(value))
        if calibrator.is_critical(value):
            changes["severity"] = "critical"
        if score.surprise > alert.surprise:
            changes["surprise"] = score.surprise
            changes["peak_s"] = (score.start_s + score.end_s) / 2
            changes["shares"] = dict(score.shares)
            changes["channels"] = {item.channel: item.p for item in score.evidence}
            found = self._why()
            changes["regions"] = {name: at.region for name, at in found.where.items() if at.region is not None}
            changes["band_hz"] = next((at.band_hz for at in found.where.values() if at.band_hz is not None), None)
            changes["normal"] = found.normal
            changes["models"] = tuple(sorted({item.model for item in score.evidence if item.model}))
        if score.text and score.text not in alert.text:
            changes["text"] = f"{alert.text} {score.text}".strip()[:MAX_TEXT]
        return dataclasses.replace(alert, **changes)

    def _tell(self, alert: Alert, lasted_s: float | None = None, scene_changed: bool = False) -> Alert:
        self._told = alert.surprise
        said = explain.say(alert, learned_s=self._calibrator.seen_s, lasted_s=lasted_s, scene_changed=scene_changed)
        return dataclasses.replace(alert, sentence=said["en"], sentences=said)
