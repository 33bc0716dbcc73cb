"""All rules of one feed: its windows in, their alerts and questions out. They do not know of one another."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from mmstream.config import BudgetSection, RuleConfig
from mmstream.encoders.prompts import confirmation_prompt, yes_or_no
from mmstream.rules.phrases import normalised
from mmstream.rules.resemblance import TextVectors
from mmstream.rules.tracker import RuleTracker, Seen
from mmstream.types import Alert, AlignedWindow
from mmstream.understanding.ondemand import PictureAnswer, PictureQuestion, Tier

log = logging.getLogger(__name__)

CHANNEL = "vision"
"""Whose vectors are compared with words."""

ANSWER_WORDS = 12
_QUESTION = "/rule"


class RuleWatch:
    """Runs a `RuleTracker` for every rule that holds on this feed.

    Rules come and go by `follow`, without touching one another. What was kept of a rule that is not known yet (a
    restarted process learns the rules after the feed's state) waits for it.
    """

    def __init__(self, feed_id: str, *, budget: BudgetSection, vectors: TextVectors) -> None:
        """``vectors`` are shared by the feeds of a process."""
        self._feed_id = feed_id
        self._budget = budget
        self._vectors = vectors
        self._trackers: dict[str, RuleTracker] = {}
        self._kept: dict[str, Mapping[str, Any]] = {}
        self._kept_learned: dict[str, Mapping[str, npt.NDArray[Any]]] = {}
        self._is_live = False
        self._last_s: float | None = None

    def follow(self, rules: Sequence[RuleConfig]) -> list[Alert]:
        """From now on these are the site's rules; -> the alerts that end with the rules that have gone."""
        here = {rule.name: rule for rule in rules if not rule.feeds or self._feed_id in rule.feeds}
        alerts: list[Alert] = []
        before, self._trackers = self._trackers, {}
        for name, rule in here.items():
            old = before.pop(name, None)
            if old is not None and old.rule == rule:
                self._trackers[name] = old
                continue
            tracker = RuleTracker(self._feed_id, rule, self._budget)
            if old is not None:
                alerts += old.flush()
                tracker.adopt(old)
            else:
                tracker = self._restored(tracker)
            self._trackers[name] = tracker
        for old in before.values():
            alerts += old.flush()
        self._kept, self._kept_learned = {}, {}
        return alerts

    def push(self, window: AlignedWindow, text: str) -> list[Alert]:
        """``text``: all that was said or written in the window."""
        if not self._trackers:
            return []
        if not window.history and not self._is_live:
            self._is_live = True
            for tracker in self._trackers.values():
                tracker.start_live()
        if not window.history:
            self._last_s = window.end_s
        seen = next((embedding for embedding in window.embeddings if embedding.channel == CHANNEL), None)
        plain = normalised(text) if text else ""
        alerts: list[Alert] = []
        for tracker in self._trackers.values():
            looks = seen is not None and bool(tracker.text)
            margin = self._vectors.margin(seen.model, tracker.text, seen.vector) if seen is not None and looks else None
            alerts += tracker.push(
                Seen(
                    start_s=window.start_s,
                    end_s=window.end_s,
                    margin=margin,
                    model=seen.model if seen is not None and margin is not None else "",
                    text=text,
                    plain=plain,
                    history=window.history,
                )
            )
        return alerts

    def questions(self) -> list[PictureQuestion]:
        """Alerts that are held until somebody has looked, again and again until they are answered."""
        return [
            PictureQuestion(
                feed_id=self._feed_id,
                question_id=awaited.alert_id + _QUESTION,
                role="captions",
                prompt=confirmation_prompt(tracker.text),
                at_s=(awaited.start_s + 0.5, awaited.peak_s),
                tier=Tier.CONFIRM,
                surprise=awaited.surprise,
                max_words=ANSWER_WORDS,
            )
            for tracker in self._trackers.values()
            if (awaited := tracker.awaited) is not None
        ]

    def answer(self, answer: PictureAnswer) -> list[Alert]:
        """An answer to one of the `questions`; others are none of the rules' business."""
        for tracker in self._trackers.values():
            awaited = tracker.awaited
            if awaited is not None and answer.question_id == awaited.alert_id + _QUESTION:
                return tracker.answer(yes_or_no(answer.text) if answer.text else None, answer.model)
        return []

    def verdict(self, alert: Alert) -> bool:
        """What an operator said of a rule's alert; -> whether it changes anything."""
        tracker = self._trackers.get(alert.cause)
        return tracker is not None and alert.verdict == "true" and tracker.approve(alert)

    def exclude(self, start_s: float, end_s: float) -> None:
        """The camera shows something else since: those blocks say nothing about what is ordinary."""
        for tracker in self._trackers.values():
            tracker.exclude(start_s, end_s)

    def flush(self) -> list[Alert]:
        """The feed has ended."""
        return [alert for tracker in self._trackers.values() for alert in tracker.flush()]

    def status(self) -> dict[str, dict[str, Any]]:
        """Rule -> how far it has come on this feed, and what keeps it from working."""
        return {
            name: tracker.status(self._last_s) | {"trouble": self._vectors.trouble if tracker.text else ""}
            for name, tracker in self._trackers.items()
        }

    # -- surviving a crash ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Small and JSON; empty where no rule holds."""
        rules = {name: tracker.state() for name, tracker in self._trackers.items()} | dict(self._kept)
        return {"live": self._is_live, "last_s": self._last_s, "rules": rules} if rules else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Call before the rules are known, or with the same ones."""
        if not state:
            return
        self._is_live, self._last_s = state["live"], state["last_s"]
        self._kept = dict(state["rules"])
        self._claim()

    def learned(self) -> tuple[list[str], dict[str, npt.NDArray[Any]]]:
        """-> (names of rules, arrays by ``number.name``): larger, kept with what else was learned."""
        parts = {name: tracker.learned() for name, tracker in self._trackers.items()} | dict(self._kept_learned)
        parts = {name: arrays for name, arrays in parts.items() if arrays}
        names = list(parts)
        return names, {
            f"{number}.{key}": array for number, name in enumerate(names) for key, array in parts[name].items()
        }

    def load_learned(self, names: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError or ValueError when these are not what `learned` gave."""
        self._kept_learned = {
            name: {key.partition(".")[2]: a for key, a in arrays.items() if key.partition(".")[0] == str(number)}
            for number, name in enumerate(names)
        }
        self._claim()

    # -- inside ---------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """What was kept goes to the rules that are known."""
        for name in [name for name in {*self._kept, *self._kept_learned} if name in self._trackers]:
            self._trackers[name] = self._restored(self._trackers[name])

    def _restored(self, tracker: RuleTracker) -> RuleTracker:
        """With what was kept of it; a fresh one if that cannot be used: the other rules are not its business."""
        name = tracker.rule.name
        state, arrays = self._kept.pop(name, None), self._kept_learned.pop(name, {})
        try:
            tracker.load_learned(arrays)
            if state is not None:
                tracker.load(state)
        except (KeyError, TypeError, ValueError, IndexError):
            log.warning("feed %s: what rule %r had learned cannot be used; it starts anew", self._feed_id, name)
            return RuleTracker(self._feed_id, tracker.rule, self._budget)
        return tracker
