"""From encoded windows to alerts, for one feed: align, weigh, fuse, calibrate, track."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.adopting import FeedAdoption, Switch
from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.health import MODALITY_OF, HealthTracker
from mmstream.alerts.levels import Phase
from mmstream.alerts.requests import EvidenceRequests
from mmstream.alerts.tracker import AlertTracker, Decision
from mmstream.config import BudgetSection, ClipSection, FusionSection, RuleConfig
from mmstream.explanation import UNPICTURED, Explainer
from mmstream.fusion import FUSERS, agreement
from mmstream.fusion.align import Aligner
from mmstream.fusion.evidence import MODALITY_WEIGHTS
from mmstream.fusion.trained import MonotoneRule, TrainedFuser
from mmstream.fusion.weights import VerdictWeights
from mmstream.normality.memory import NOTHING, Memory, TaughtState
from mmstream.normality.scenes import Scenes
from mmstream.rules.resemblance import TextVectors
from mmstream.rules.watch import RuleWatch
from mmstream.stages import Fuser, load
from mmstream.types import (
    Alert,
    AlignedWindow,
    Channel,
    Condition,
    Embedding,
    EncodedWindow,
    Evidence,
    EvidenceRequest,
    Float64,
    Score,
    TextSpan,
    alert_id,
)
from mmstream.understanding.ondemand import PictureAnswer, PictureQuestion

SNAPSHOT_VERSION = 3
DEFAULT_FUSION = FusionSection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one released window led to."""

    feed_id: str
    start_s: float
    end_s: float
    score: Score
    alerts: tuple[Alert, ...]
    """Transitions: opened, clearly grown, closed."""
    phase: Phase
    history: bool
    suspect: bool = False
    """Something may be going on: from the suspicion on until the alert has closed."""
    episode: str = ""
    """The id of the alert that is going on, or that may come of what is suspected; empty: nothing is."""
    alerting: bool = False
    """The alert is going on."""
    embeddings: tuple[Embedding, ...] = ()
    """What the window was judged by: for the archive."""
    aspects: tuple[Evidence, ...] = ()
    """What fusion joined: for the archive."""


class FeedAnalyzer:
    """One feed's learned state and alerts. Windows up to the last one judged are ignored and
    counted (``num_repeated``), so that what is sent again after a crash changes nothing.

    Windows of history are learned and calibrate the threshold, but never raise alerts. They have
    times of their own; once a live window has been judged, history is over.
    """

    def __init__(
        self,
        feed_id: str,
        *,
        channels: Mapping[str, Channel],
        budget: BudgetSection,
        max_wait_s: float,
        clips: ClipSection,
        alerts_per_day: float | None = None,
        explain: Explainer = UNPICTURED,
        fusion: FusionSection = DEFAULT_FUSION,
        rule_texts: TextVectors | None = None,
        taught: Mapping[str, TaughtState] = NOTHING,
        prior_maxima: Callable[[], Sequence[float]] = tuple,
    ) -> None:
        """``rule_texts``: what the rules' texts are in the space of the pictures, shared by the feeds of a process.
        ``taught``: channel -> what is known of it from the start. ``prior_maxima``: asks for the `block_excesses` of
        other feeds of the site."""
        self._feed_id = feed_id
        self._calibrator = Calibrator(
            alerts_per_day=alerts_per_day or budget.alerts_per_camera_per_day,
            block_s=budget.block_s,
            history_days=budget.history_days,
            warmup_s=budget.warmup_s,
            prior_maxima=prior_maxima,
        )
        self._aligner = Aligner(max_wait_s=max_wait_s)
        self._channels = {**channels, **agreement.CHANNELS}
        self._memory = Memory(self._channels, taught=taught)
        self._taught = taught
        self._switch = Switch()
        self._fused_by = ""
        self._agreement = agreement.Agreement(channels)
        self._health = HealthTracker(feed_id)
        self._scenes = Scenes(self._channels)
        self._explain = explain
        self._rule: Callable[[Mapping[str, float]], Fuser] = load(FUSERS, fusion.rule)
        self._verdicts = VerdictWeights({**MODALITY_WEIGHTS, **fusion.weights})
        self._fuser = self._rule(self._verdicts.weights())
        self._tracker = AlertTracker(feed_id, calibrator=self._calibrator)
        self._requests = EvidenceRequests(feed_id, pre_roll_s=clips.pre_roll_s, post_roll_s=clips.post_roll_s)
        self._rules = RuleWatch(feed_id, budget=budget, vectors=rule_texts or TextVectors())
        self._judged_s: float | None = None
        self._history_judged_s: float | None = None
        self.num_repeated = 0
        self.verdict_cursor: int | None = None
        """Up to which line of the ledger's event log verdicts have been heard; None: from now on."""

    @property
    def has_been_live(self) -> bool:
        """Whether a window that was not history has been judged."""
        return self._judged_s is not None

    def push(self, item: EncodedWindow | Embedding) -> list[Judgement]:
        """An `EncodedWindow` opens a window; an `Embedding` of one of its pending channels completes it."""
        if isinstance(item, EncodedWindow) and self._is_repeated(item):
            self.num_repeated += 1
            return []
        return [self._judge(window) for window in self._aligner.push(item)]

    def late_words(self, span: TextSpan) -> tuple[Alert, ...]:
        """Words whose windows have been judged: -> the alert that they are about, with them."""
        return self._tracker.take_words(span, self._judged_s if self._judged_s is not None else span.end_s)

    def follow_rules(self, rules: Sequence[RuleConfig]) -> list[Alert]:
        """From now on these are the site's rules; -> alerts that end with the rules that have gone."""
        return self._ask_for_clips(self._rules.follow(rules), window_s=0.0)

    def rule_questions(self) -> list[PictureQuestion]:
        """What a model of pictures is asked before a rule's alert is told."""
        return self._rules.questions()

    def rule_answer(self, answer: PictureAnswer) -> list[Alert]:
        return self._ask_for_clips(self._rules.answer(answer), window_s=0.0)

    def check(self, condition: Condition) -> tuple[Alert, ...]:
        """How the camera itself is doing: -> alerts about that. What it shows is neither judged nor learned while it
        cannot be trusted, and what was learned of another view is put away."""
        scene = self._health.scene
        alerts = tuple(self._health.push(condition))
        closed: tuple[Alert, ...] = ()
        for alert in alerts:
            if alert.state == "open":
                self._requests.opened(alert, condition.end_s - condition.start_s)
                if alert.cause in MODALITY_OF:
                    self._memory.discard(alert.start_s, alert.alert_id)
                    self._agreement.discard(alert.start_s)
                    decision = self._tracker.flush()
                    self._follow(decision, window_s=0.0)
                    closed += decision.alerts
        if self._health.scene != scene:
            before, known = self._memory, self._health.scenes
            self._memory = self._scenes.swap(before, left=scene, entered=self._health.scene, known=known)
            self._memory.go_on_hearing(before)
            self._agreement.forget_view()
            self._calibrator.exclude(condition.start_s, condition.end_s)
            self._rules.exclude(condition.start_s, condition.end_s)
        return closed + alerts

    def follow_fusion(self, rule: MonotoneRule) -> None:
        """From the next window on modalities are joined as this has learned it. It is on the scale of the one before:
        thresholds stay."""
        self._rule = functools.partial(TrainedFuser, rule=rule)
        self._fused_by = f"fusion@{rule.version}" if rule.version else ""
        self._fuser = self._rule(self._verdicts.weights())

    def allow(self, alerts_per_day: float) -> None:
        """The budget has changed; what was learned stays."""
        if alerts_per_day != self._calibrator.alerts_per_day:
            self._tracker.allow(alerts_per_day)

    def adopt(self, adoption: FeedAdoption) -> int:
        """Another model comes soon: what is normal under it, and how scores then read; -> histories that were new.
        Nothing changes before its first window."""
        return self._switch.expect(adoption, self._memory)

    def block_excesses(self) -> Float64:
        """(n,) how far the most unusual moments rose above what is usual here, once there is enough to say so."""
        return self._calibrator.excesses()

    def take_health_of(self, other: FeedAnalyzer) -> None:
        """Learning starts over, but an alert about the camera that is open stays so."""
        self._health = other._health

    def flush(self) -> list[Judgement]:
        """The feed has ended: judge what was held back, close what is open."""
        judgements = [self._judge(window) for window in self._aligner.flush()]
        decision = self._tracker.flush()
        self._follow(decision, window_s=0.0)
        ended = self._ask_for_clips(self._rules.flush(), window_s=0.0)
        alerts = (*decision.alerts, *ended, *self._health.flush())
        if alerts:
            judgements.append(self._closing(alerts))
        return judgements

    def verdict(self, alert: Alert) -> bool:
        """An alert of this feed with what an operator said of it; -> whether that was new. *False alarm*: what was
        seen in it is normal from now on. *True*: nothing like it is learned, and it stands out more. The same again
        changes nothing; another verdict, *unsure* or none takes the one before back, as far as the windows are
        still kept (72 h)."""
        if alert.kind == "rule":
            return self._rules.verdict(alert)
        known = self._verdicts.verdict(alert.alert_id)
        if alert.kind == "health" or (None if alert.verdict == "unsure" else alert.verdict) == known:
            return False
        self._verdicts.push(alert.alert_id, alert.verdict, alert.shares)
        self._fuser = self._rule(self._verdicts.weights())
        if alert.verdict == "true":
            self._tracker.confirm(alert)
        self._teach(alert.alert_id)
        return True

    def evidence_wanted(self) -> list[EvidenceRequest]:
        """Clips that have been asked for and not answered, again and again until they are."""
        return self._requests.wanted()

    def evidence_done(self, alert_id: str, final: bool) -> None:
        self._requests.done(alert_id, final)

    def tracker_state(self) -> dict[str, Any]:
        """Alerting in less than 4 KB of JSON, to be committed with every alert."""
        return {
            "version": SNAPSHOT_VERSION,
            "judged_s": self._judged_s,
            "history_judged_s": self._history_judged_s,
            "tracker": self._tracker.state(),
            "requests": self._requests.state(),
            "health": self._health.state(),
            "rules": self._rules.state(),
        }

    def snapshot(self) -> bytes:
        """Everything learned, with the tracker's state, as one ``.npz``."""
        record, arrays = self._memory.state()
        arrays |= {f"calibrator.{name}": array for name, array in self._calibrator.state().items()}
        meta = {"version": SNAPSHOT_VERSION, "memory": record, "alerting": self.tracker_state()}
        meta |= {"verdicts": self._verdicts.state(), "verdict_cursor": self.verdict_cursor}
        meta["health"], views = self._health.learned()
        arrays |= {f"view.{name}": array for name, array in views.items()}
        arrays |= {f"scene.{name}": array for name, array in self._scenes.state().items()}
        meta["agreement"], matched = self._agreement.state()
        arrays |= {f"agreement.{name}": array for name, array in matched.items()}
        meta["switch"], reread = self._switch.state()
        arrays |= {f"switch.{name}": array for name, array in reread.items()}
        meta["rules"], likened = self._rules.learned()
        arrays |= {f"rule.{name}": array for name, array in likened.items()}
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for allow_pickle
        return file.getvalue()

    def restore(self, snapshot: bytes | None, tracker: Mapping[str, Any] | None) -> bool:
        """Go on where another analyzer of this feed stopped. Call on a fresh one.

        Of the snapshot's own alert state and ``tracker`` the one that has judged further holds.
        False: the snapshot was made by another version or is damaged, and nothing of it was used.
        """
        alerting = None
        restored = True
        if snapshot is not None:
            try:
                alerting = self._load(snapshot)
            except (KeyError, TypeError, ValueError, IndexError, OSError, EOFError, zipfile.BadZipFile):
                restored = False
            else:
                restored = alerting is not None
        if tracker is not None and tracker.get("version") == SNAPSHOT_VERSION and _further(tracker, alerting):
            alerting = tracker
        if alerting is not None:
            self._judged_s, self._history_judged_s = alerting["judged_s"], alerting["history_judged_s"]
            self._tracker.load(alerting["tracker"])
            self._requests.load(alerting["requests"])
            self._health.load(alerting["health"])
            self._rules.load(alerting.get("rules", {}))
        return restored

    def summary(self) -> dict[str, Any]:
        """How far learning and alerting have come: plain values for the feed's status."""
        calibrator, aligner = self._calibrator, self._aligner
        threshold = calibrator.levels.alert
        known = math.isfinite(threshold)
        interval = calibrator.rate_interval_per_day()
        return {
            "phase": calibrator.phase,
            "learned_s": round(calibrator.seen_s, 1),
            "windows_learned": self._memory.num_learned,
            "blocks": calibrator.num_blocks,
            "budget_per_day": calibrator.alerts_per_day,
            "alerts_today": self._tracker.alerts_on(self._judged_s) if self._judged_s is not None else 0,
            "alerts_suppressed": self._tracker.num_suppressed,
            "threshold": round(threshold, 3) if known else None,
            "threshold_expected_every_s": round(calibrator.expected_every_s(threshold), 1) if known else None,
            "rate_interval_per_day": interval and [round(rate, 3) for rate in interval],
            "rate_factor": round(calibrator.rate_factor, 3),
            "drift": calibrator.drifting,
            "faults": list(self._health.causes),
            "scene": self._health.scene,
            "open_alert": self._tracker.open_alert.alert_id if self._tracker.open_alert is not None else None,
            "bank_rows": self._memory.sizes(),
            "agreement": self._agreement.summary(),
            "rules": self._rules.status(),
            "num_late": aligner.num_late,
            "num_missing": aligner.num_missing,
            "num_stale": aligner.num_stale,
            "num_repeated": self.num_repeated,
            "num_unknown_channel": self._memory.num_unknown,
            "num_clips_given_up": self._requests.num_given_up,
        }

    def _is_repeated(self, window: EncodedWindow) -> bool:
        if window.history:
            return self.has_been_live or window.end_s <= (self._history_judged_s or -math.inf)
        return self._judged_s is not None and window.end_s <= self._judged_s

    def _judge(self, window: AlignedWindow) -> Judgement:
        if not window.history and not self.has_been_live:
            self._tracker.start_live()
        window = self._usable(window)
        rereading = self._switch.note(window.embeddings)
        if rereading is not None:
            self._calibrator.adopt_maxima(rereading)
        window = dataclasses.replace(window, embeddings=(*window.embeddings, *self._agreement.weigh(window)))
        weighed = self._memory.weigh(window)
        ill = self._health.ill if not window.history else frozenset()
        aspects = tuple(i for i in weighed.aspects if ill.isdisjoint(agreement.modalities_of(i)))
        surprise, shares = self._fuser.fuse(aspects)
        score = Score(
            feed_id=self._feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            surprise=surprise + weighed.bonus,
            shares=shares,
            evidence=weighed.channels,
            history=window.history,
            text=" ".join(embedding.text for embedding in window.embeddings if embedding.text),
            fused_by=self._fused_by,
        )
        phase = self._calibrator.phase
        decision = self._tracker.push(score, lambda: self._explain(window, weighed.channels, self._memory))
        episode, alerting = self._tracker.episode
        self._memory.keep(weighed.lesson, hold=decision.hold)
        self._agreement.keep(window.end_s, hold=decision.hold)
        self._follow(decision, window_s=window.end_s - window.start_s)
        by_rules = self._ask_for_clips(self._rules.push(window, score.text), window_s=window.end_s - window.start_s)
        if window.history:
            self._history_judged_s = window.end_s
        else:
            self._judged_s = window.end_s
        return Judgement(
            feed_id=self._feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            score=score,
            alerts=(*decision.alerts, *by_rules),
            phase=phase,
            history=window.history,
            suspect=decision.hold,
            episode=episode,
            alerting=alerting,
            embeddings=window.embeddings,
            aspects=aspects,
        )

    def _usable(self, window: AlignedWindow) -> AlignedWindow:
        """Without what a faulty camera shows or sounds: a missing modality is absent, not zero."""
        unusable = self._health.unusable
        if not unusable or window.history:
            return window
        lost = {name for name, channel in self._channels.items() if channel.modality in unusable}
        kept = tuple(embedding for embedding in window.embeddings if embedding.channel not in lost)
        return dataclasses.replace(window, embeddings=kept)

    def _follow(self, decision: Decision, *, window_s: float) -> None:
        if decision.discard_from_s is not None:
            episode = alert_id(self._feed_id, decision.discard_from_s)
            self._memory.discard(decision.discard_from_s, episode)
            self._agreement.discard(decision.discard_from_s)
            self._teach(episode)  # the operator may have been quicker
        for alert in decision.alerts:
            if alert.severity == "notice":
                continue
            if alert.state == "closed":
                self._requests.closed(alert)
            elif decision.opened:
                self._requests.opened(alert, window_s)

    def _ask_for_clips(self, by_rules: list[Alert], *, window_s: float) -> list[Alert]:
        """Of alerts that rules have opened or closed."""
        for alert in by_rules:
            if alert.state == "closed":
                self._requests.closed(alert)
            else:
                self._requests.opened(alert, window_s)
        return by_rules

    def _teach(self, alert_id: str) -> None:
        match self._verdicts.verdict(alert_id):
            case "false_alarm":
                self._memory.absorb(alert_id)
            case "true":
                self._memory.confirm(alert_id)
            case _:
                self._memory.take_back(alert_id)

    def _closing(self, alerts: tuple[Alert, ...]) -> Judgement:
        """A judgement without a window, for what the end of the feed closed."""
        end_s = alerts[-1].end_s
        score = Score(feed_id=self._feed_id, start_s=end_s, end_s=end_s, surprise=0.0, shares={})
        return Judgement(
            feed_id=self._feed_id,
            start_s=end_s,
            end_s=end_s,
            score=score,
            alerts=alerts,
            phase=self._calibrator.phase,
            history=False,
        )

    def _load(self, snapshot: bytes) -> Mapping[str, Any] | None:
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            if meta["version"] != SNAPSHOT_VERSION:
                return None
            arrays = {name: file[name] for name in file.files}
        self._health.load_learned(meta["health"], _under(arrays, "view."))
        self._scenes.load(_under(arrays, "scene."))
        prefix = "calibrator."
        memory = Memory(self._channels, taught=self._taught)
        memory.load(meta["memory"], arrays)
        matched = agreement.Agreement(self._agreement.channels)
        if "agreement" in meta:  # snapshots from before it was learned have none
            matched.load(meta["agreement"], _under(arrays, "agreement."))
        self._calibrator.load({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        self._memory, self._agreement = memory, matched
        if "switch" in meta:  # snapshots from before there was training have none
            self._switch.load(meta["switch"], _under(arrays, "switch."))
            self._switch.place(memory)
        self._verdicts.load(meta["verdicts"])
        self._fuser = self._rule(self._verdicts.weights())
        self.verdict_cursor = meta["verdict_cursor"]
        self._rules.load_learned(meta.get("rules", ()), _under(arrays, "rule."))
        alerting: Mapping[str, Any] = meta["alerting"]
        return alerting


def _under(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _further(tracker: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    if other is None:
        return True
    # the same moment: the committed one also knows which clips were answered since
    return (tracker["judged_s"] or -math.inf) >= (other["judged_s"] or -math.inf)
