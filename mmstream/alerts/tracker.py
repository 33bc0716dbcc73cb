"""From scores to alerts: when one opens, grows and closes, and what must not be learned meanwhile."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmstream.alerts import explain
from mmstream.alerts.bucket import TokenBucket
from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.debounce import Debounce, tie_jitter
from mmstream.alerts.levels import DAY_S, NOTICE_BUDGETS, Levels
from mmstream.alerts.machine import Machine
from mmstream.alerts.said import AFTER_S, gap_s, joined, with_late_words
from mmstream.types import Alert, Explanation, Score, TextSpan, alert_id

PEAK_STEP = 0.5
"""An open alert is told again when its surprise has grown by so much since it was last told."""

MAX_CONFIRMED = 32
"""Alerts said to be true that are remembered: each counts once, however often it is said."""
MAX_CLOSED = 16
"""Openings are more than a block apart, and words come at most a minute late: more are never needed."""

Why = Callable[[], Explanation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one window led to."""

    alerts: tuple[Alert, ...] = ()
    """To be stored; those that are `suppressed` or only a ``notice`` are told to nobody."""
    opened: bool = False
    """The alert is new."""
    hold: bool = False
    """Do not learn from what has not been learned yet: something may be going on."""
    discard_from_s: float | None = None
    """An episode has ended: never learn what starts at or after this."""


class AlertTracker:
    """Runs the `Machine` on debounced scores and writes down what it goes through.

    An alert starts with the first suspect window of its episode. One that finds the token bucket
    empty is kept as ``suppressed``; should it become critical, it may still overdraw the bucket. A
    suspicion that passed the notice level and no more is kept, once it is over, as a ``notice``:
    at most one a block and ``10 N D + max(2, 2 N)`` in D days. An alert that is active for half an
    hour closes: the scene has changed, and what was held back is learned.
    """

    def __init__(self, feed_id: str, *, calibrator: Calibrator) -> None:
        self._feed_id = feed_id
        self._calibrator = calibrator
        self._machine = Machine(block_s=calibrator.block_s)
        self._bucket, self._notices = _buckets(calibrator.alerts_per_day)
        self._debounce = Debounce()
        self._draft: Alert | None = None
        self._closed: deque[Alert] = deque(maxlen=MAX_CLOSED)
        """Told, and not long ago: late words may be about them."""
        self._is_notable = False
        self._noticed_s: float | None = None
        self._told = 0.0
        self._day, self._num_today = -1, 0
        self.num_suppressed = 0
        self._confirmed: deque[str] = deque(maxlen=MAX_CONFIRMED)

    @property
    def open_alert(self) -> Alert | None:
        """The alert that is going on and was told."""
        active = self._draft if self._machine.state == "active" else None
        return active if active is not None and not active.suppressed else None

    @property
    def episode(self) -> tuple[str, bool]:
        """The id of the alert that is going on or may come of what is suspected ("" if nothing is), and whether it is
        going on."""
        return (self._draft.alert_id if self._draft is not None else ""), self._machine.state == "active"

    def allow(self, alerts_per_day: float) -> None:
        """The budget has changed."""
        self._calibrator.allow(alerts_per_day)
        for bucket, new in zip((self._bucket, self._notices), _buckets(alerts_per_day), strict=True):
            bucket.resize(new)

    def start_live(self) -> None:
        """History is over: alerting starts from nothing."""
        self._debounce = Debounce()
        self._machine.reset()
        self._draft = None

    def push(self, score: Score, why: Why = Explanation) -> Decision:
        """``why`` is asked only when this window is the highest of an episode so far."""
        value = self._debounce.push(score.surprise) + tie_jitter(score.end_s)
        decision = Decision() if score.history else self._step(score, value, why)
        start_s = score.start_s
        if score.evidence and all(item.modality in ("sensor", "words") for item in score.evidence):
            # a reading speaks for the time since the one before, and so do words where there is nothing else
            start_s = score.end_s - self._calibrator.block_s
        self._calibrator.observe(
            value, start_s=start_s, end_s=score.end_s, known=bool(score.shares), live=not score.history
        )
        return decision

    def confirm(self, alert: Alert) -> None:
        """A user said that the alert was true: what happened in it is not what is ordinary here, and it
        does not count against the budget's rate. Said again after it was taken back, it counts once."""
        if alert.alert_id in self._confirmed:
            return
        self._confirmed.append(alert.alert_id)
        self._calibrator.exclude(alert.start_s, alert.end_s)
        if alert.severity != "notice" and not alert.provisional:
            self._calibrator.forgive()

    def take_words(self, span: TextSpan, now_s: float) -> tuple[Alert, ...]:
        """Words that came after their window: -> the alert that they are about, with them, if it is going on or closed
        a minute ago at most. Of several, the nearest in time; words that reach into more than one are told with each.
        """
        draft = self._draft
        about = [*self._closed, draft] if draft is not None else list(self._closed)
        nearest_s = min((gap_s(alert, span) for alert in about), default=0.0)
        told: list[Alert] = []
        for place, alert in enumerate(about):
            with_words = with_late_words(alert, span, now_s) if gap_s(alert, span) <= nearest_s else None
            if with_words is None:
                continue
            if alert is not draft:
                self._closed[place] = with_words
                told.append(with_words)
                continue
            self._draft = with_words
            told += [self._tell(with_words)] if self._machine.state == "active" else []
        return tuple(told)

    def flush(self) -> Decision:
        """The feed has ended: close what is open."""
        draft, was_active = self._draft, self._machine.state == "active"
        self._machine.reset()
        if draft is None:
            return Decision()
        return self._close(draft) if was_active else Decision(alerts=self._end_suspicion())

    def alerts_on(self, at_s: float) -> int:
        """How many alerts were told on the (UTC) day of that moment."""
        return self._num_today if int(at_s // DAY_S) == self._day else 0

    def state(self) -> dict[str, Any]:
        """Small and JSON: all that `load` needs to go on as if nothing had happened."""
        machine = self._machine
        return {
            "machine": [machine.state, machine.start_s, machine.loud_s, machine.since_s],
            "draft": self._draft.to_json() if self._draft is not None else None,
            "just_closed": [alert.to_json() for alert in self._closed],
            "notable": self._is_notable,
            "noticed_s": self._noticed_s,
            "told": self._told,
            "recent": list(self._debounce.recent),
            "bucket": self._bucket.state(),
            "notices": self._notices.state(),
            "today": [self._day, self._num_today],
            "num_suppressed": self.num_suppressed,
            "confirmed": list(self._confirmed),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        machine = self._machine
        machine.state, machine.start_s, machine.loud_s, machine.since_s = state["machine"]
        self._draft = Alert.from_json(state["draft"]) if state["draft"] is not None else None
        self._closed = deque(map(Alert.from_json, state.get("just_closed", ())), MAX_CLOSED)
        self._is_notable, self._noticed_s, self._told = state["notable"], state["noticed_s"], state["told"]
        before, last = state["recent"]
        self._debounce = Debounce((before, last))
        self._bucket.load(state["bucket"])
        self._notices.load(state["notices"])
        self._day, self._num_today = state["today"]
        self.num_suppressed = state["num_suppressed"]
        self._confirmed = deque(state["confirmed"], MAX_CONFIRMED)

    # -- inside -----------------------------------------------------------------------------------------

    def _step(self, score: Score, value: float, why: Why) -> Decision:
        levels = self._calibrator.levels
        event = self._machine.step(score.start_s, score.end_s, value, max(value, score.surprise), levels)
        match event:
            case "idle":
                return Decision()
            case "hold":
                return Decision(hold=True)
            case "calm":
                return Decision(alerts=self._end_suspicion())
            case "suspect":
                before = self._begun(score)
                self._grow(score, value, levels, why)
                return Decision(alerts=before, hold=True)
            case "open":
                before = self._begun(score)
                return self._open(before, score, self._grow(score, value, levels, why))
        assert self._draft is not None
        if event == "close":
            return self._close(self._draft)
        draft = self._grow(score, value, levels, why)
        return self._close(draft, scene_changed=True) if event == "scene_changed" else self._go_on(draft, score.end_s)

    def _begun(self, score: Score) -> tuple[Alert, ...]:
        """See to it that there is a draft of this episode; what a gap in the feed left of the one before."""
        if self._draft is not None and self._draft.start_s == self._machine.start_s:
            return ()
        before = self._end_suspicion()
        self._is_notable = False
        while self._closed and score.start_s > self._closed[0].end_s + AFTER_S:
            self._closed.popleft()
        self._draft = Alert(
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
            alerts_per_day=self._calibrator.alerts_per_day,
        )
        return before

    def _grow(self, score: Score, value: float, levels: Levels, why: Why) -> Alert:
        alert = self._draft
        assert alert is not None
        self._is_notable |= value > levels.notice
        changes: dict[str, Any] = {"end_s": score.end_s}
        changes["expected_every_s"] = max(alert.expected_every_s, self._calibrator.expected_every_s(value))
        if value > levels.critical:
            changes["severity"] = "critical"
        if score.surprise > alert.surprise:
            changes |= _peak(score, why())
        if score.text:
            changes["text"] = joined(alert.text, score.text)
        self._draft = alert = dataclasses.replace(alert, **changes)
        return alert

    def _open(self, before: tuple[Alert, ...], score: Score, draft: Alert) -> Decision:
        self._calibrator.count_opening()
        if self._bucket.take(score.end_s, critical=draft.severity == "critical"):
            draft = self._numbered(draft, score.end_s)
        else:
            self.num_suppressed += 1
            draft = dataclasses.replace(draft, suppressed=True)
        self._draft = draft
        return Decision(alerts=(*before, self._tell(draft)), opened=True, hold=True)

    def _go_on(self, draft: Alert, now_s: float) -> Decision:
        if draft.suppressed and draft.severity == "critical" and self._bucket.take(now_s, critical=True):
            self.num_suppressed -= 1
            self._draft = draft = self._numbered(draft, now_s)
            return Decision(alerts=(self._tell(draft),), hold=True)
        if draft.surprise >= self._told + PEAK_STEP:
            return Decision(alerts=(self._tell(draft),), hold=True)
        return Decision(hold=True)

    def _close(self, draft: Alert, *, scene_changed: bool = False) -> Decision:
        self._draft = None
        closed = dataclasses.replace(draft, state="closed")
        told = self._tell(closed, draft.end_s - draft.start_s, scene_changed)
        self._closed.append(told)
        return Decision(
            alerts=(told,),
            discard_from_s=None if scene_changed else draft.start_s,
        )

    def _end_suspicion(self) -> tuple[Alert, ...]:
        """The notice that is left of it, if it came so far."""
        draft, self._draft = self._draft, None
        if draft is None or not self._is_notable:
            return ()
        if self._noticed_s is not None and draft.start_s < self._noticed_s + self._calibrator.block_s:
            return ()
        if not self._notices.take(draft.end_s):
            return ()
        self._noticed_s = draft.end_s
        notice = dataclasses.replace(draft, state="closed", severity="notice", alerts_per_day=0.0)
        return (self._tell(notice, draft.end_s - draft.start_s),)

    def _numbered(self, alert: Alert, now_s: float) -> Alert:
        day = int(now_s // DAY_S)
        self._day, self._num_today = day, self._num_today + 1 if day == self._day else 1
        return dataclasses.replace(alert, suppressed=False, number_today=self._num_today)

    def _tell(self, alert: Alert, lasted_s: float | None = None, scene_changed: bool = False) -> Alert:
        self._told = alert.surprise
        said = explain.say(alert, learned_s=self._calibrator.seen_s, lasted_s=lasted_s, scene_changed=scene_changed)
        return dataclasses.replace(alert, sentence=said["en"], sentences=said)


def _peak(score: Score, found: Explanation) -> dict[str, Any]:
    """What an alert says about its highest window."""
    versions = {item.channel: item.model for item in score.evidence if item.model}
    versions |= {"fusion": score.fused_by} if score.fused_by else {}
    return {
        "surprise": score.surprise,
        "peak_s": (score.start_s + score.end_s) / 2,
        "shares": dict(score.shares),
        "channels": {item.channel: item.p for item in score.evidence},
        "regions": {name: at.region for name, at in found.where.items() if at.region is not None},
        "band_hz": next((at.band_hz for at in found.where.values() if at.band_hz is not None), None),
        "normal": found.normal,
        "models": tuple(sorted({*versions.values()})),
        "versions": versions,
    }


def _buckets(alerts_per_day: float) -> tuple[TokenBucket, TokenBucket]:
    """For alerts and for notices."""
    alerts = TokenBucket(per_day=alerts_per_day)
    return alerts, TokenBucket(per_day=NOTICE_BUDGETS * alerts_per_day, capacity=alerts.capacity)
