"""From a question to its answer: every feed's past is read, gone through, compared and let go again."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmstream.alerts.levels import DAY_S
from mmstream.config import SiteConfig
from mmstream.errors import ConfigError
from mmstream.fusion import FUSERS
from mmstream.fusion.evidence import MODALITY_WEIGHTS
from mmstream.replay.beginning import reread
from mmstream.replay.compare import Compared, compare
from mmstream.replay.engine import Known, Replayed, known_before, replay
from mmstream.replay.refuse import RULES, fused
from mmstream.replay.strips import Past, past_of
from mmstream.replay.telling import happened_json, replayed_json
from mmstream.replay.whatif import WhatIf
from mmstream.replay.wording import Spoken, heard
from mmstream.stages import Fuser, load
from mmstream.storage.base import is_quiet
from mmstream.storage.strip_rows import StripRows
from mmstream.types import Alert, Float64

MAX_LISTED = 2000
"""Alerts in an answer; the numbers count all."""
NOT_REPLAYED = (
    "Thresholds that came from other cameras, changes of the view, faults and what verdicts taught the memory are as "
    "they were."
)


class PastReader(Protocol):
    """What is asked of the archive."""

    def strips(self, *, feed_id: str, since_s: float, until_s: float) -> list[StripRows]: ...

    def spoken(self, *, feed_id: str, since_s: float, until_s: float) -> list[Spoken]: ...


@dataclass(slots=True, kw_only=True)
class Answer:
    """Numbers by feed, the alerts that differ first, and how long it took."""

    feeds: dict[str, dict[str, int]] = field(default_factory=dict)
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_blocks: int = 0
    num_windows: int = 0
    read_s: float = 0.0
    compute_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        total: Counter[str] = Counter()
        for numbers in self.feeds.values():
            total.update(numbers)
        order = {"appeared": 0, "vanished": 1, "kept": 2}
        self.alerts.sort(key=lambda alert: (order[alert["fate"]], alert["start_s"], alert["feed_id"]))
        return dataclasses.asdict(self) | {
            "total": {name: total[name] for name in ("now", "then", "kept", "appeared", "vanished", "over_budget")},
            "alerts": self.alerts[:MAX_LISTED],
            "num_left_out": max(0, len(self.alerts) - MAX_LISTED),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayer:
    """Everything that a question is answered from."""

    site: SiteConfig
    budgets: Mapping[str, float]
    """Feed -> alerts a day as it is now; the feeds that can be asked about."""
    alerts: Sequence[Alert]
    """What happened in those days."""
    archive: PastReader
    calibrated: Callable[[str], npt.NDArray[np.void] | None] = lambda _: None
    """Feed -> blocks that its calibrator keeps."""
    clock: Callable[[], float] = time.perf_counter

    def answer(self, question: WhatIf) -> Answer:
        """
        Raises:
            StoreError: the archive cannot be read.
            ConfigError: a feed is not there, or the site's own fusion rule cannot be gone through with other weights.
        """
        unknown = sorted({*question.feeds, *question.budgets} - self.budgets.keys())
        if unknown:
            raise ConfigError(f"there is no feed {unknown[0]!r} to replay; there are {', '.join(sorted(self.budgets))}")
        answer = Answer(notes=[NOT_REPLAYED])
        num_cold = 0
        happened = _by_feed(self.alerts, question)
        for feed_id in question.feeds or sorted(self.budgets):
            began_s = self.clock()
            past, known, is_cold = self._read(feed_id, question)
            spoken = self._spoken(feed_id, question)
            read_s = self.clock()
            unusual = happened[feed_id, "unusual"]
            then = self._go_through(question, past, known, [one for one in unusual if one.verdict == "true"])
            told = [alert for alert in unusual if not is_quiet(alert)]
            self._note(answer, question, past, compare(told, [one for one in then if not one.suppressed]))
            answer.feeds[feed_id]["over_budget"] = sum(one.suppressed for one in then)
            self._try_rules(answer, feed_id, question, spoken, happened[feed_id, "rule"])
            answer.read_s += read_s - began_s
            answer.compute_s += self.clock() - read_s
            num_cold += is_cold
        if num_cold:
            answer.notes.append(
                f"{num_cold} feeds have too little of a past for exact thresholds: theirs are extrapolated at first, "
                "as those of new cameras are."
            )
        return answer

    # -- inside -----------------------------------------------------------------------------------

    def _changes_fusion(self, question: WhatIf) -> bool:
        now = (self.site.fusion.rule, self._weights())
        return question.fusion_of(*now) != now

    def _weights(self) -> dict[str, float]:
        return {**MODALITY_WEIGHTS, **self.site.fusion.weights}

    def _read(self, feed_id: str, question: WhatIf) -> tuple[Past, Known, bool]:
        """The past; what was known when it begins; whether that was too little for an exact threshold."""
        budget, older = self.site.budget, self.calibrated(feed_id)
        is_on_scale = older is not None and not self._changes_fusion(question)
        from_s = question.since_s if is_on_scale else question.since_s - budget.history_days * DAY_S
        parts = self.archive.strips(feed_id=feed_id, since_s=from_s, until_s=question.until_s)
        past = past_of(feed_id, parts)
        value, _ = self._scores(past, question)
        if older is not None and not is_on_scale:
            older = reread(older, past, value)
        known = known_before(past, value, until_s=question.since_s, budget=budget, older=older)
        rate = question.budget_of(feed_id, self.budgets[feed_id]) * budget.block_s / DAY_S
        return past, known, rate * (len(known.rows) + 1) < 1.0

    def _scores(self, past: Past, question: WhatIf) -> tuple[Float64, Float64]:
        """-> (debounced, not debounced). What another rule or other weights change is added to what was: scores that
        nothing changes stay exactly as they were."""
        if not self._changes_fusion(question):
            return past.value, past.surprise
        rule, weights = question.fusion_of(self.site.fusion.rule, self._weights())
        then = fused(rule, past.heights, past.aspects, weights)
        if self.site.fusion.rule not in RULES:
            return then, then
        change = then - fused(self.site.fusion.rule, past.heights, past.aspects, self._weights())
        return np.maximum(past.value + change, 0.0), np.maximum(past.surprise + change, 0.0)

    def _go_through(self, question: WhatIf, past: Past, known: Known, confirmed: Sequence[Alert]) -> list[Replayed]:
        value, surprise = self._scores(past, question)
        return replay(
            past,
            value=value,
            surprise=surprise,
            since_s=question.since_s,
            until_s=question.until_s,
            alerts_per_day=question.budget_of(past.feed_id, self.budgets[past.feed_id]),
            budget=self.site.budget,
            known=known,
            confirmed=confirmed,
        )

    def _fuser(self, question: WhatIf) -> Fuser:
        """For the shares of an alert."""
        rule, weights = question.fusion_of(self.site.fusion.rule, self._weights())
        fuser: Fuser = load(FUSERS, rule if rule in RULES else "harmonic")(weights)
        return fuser

    def _note(self, answer: Answer, question: WhatIf, past: Past, found: Compared) -> None:
        fuser, is_fused_anew = self._fuser(question), self._changes_fusion(question)
        answer.num_blocks += len(past.blocks_s)
        answer.num_windows += len(past)
        kept, appeared, vanished = len(found.kept), len(found.appeared), len(found.vanished)
        answer.feeds[past.feed_id] = {
            "now": kept + vanished,
            "then": kept + appeared,
            "kept": kept,
            "appeared": appeared,
            "vanished": vanished,
        }
        for alert, other in found.kept:
            as_it_was = {} if is_fused_anew else {"shares": happened_json(alert)["shares"]}
            as_it_was["alert_id"] = alert.alert_id
            self._list(answer, "kept", alert.start_s, replayed_json(past, other, fuser) | as_it_was)
        for other in found.appeared:
            self._list(answer, "appeared", other.start_s, replayed_json(past, other, fuser))
        for alert in found.vanished:
            self._list(answer, "vanished", alert.start_s, happened_json(alert))

    def _list(self, answer: Answer, fate: str, at_s: float, alert: dict[str, Any]) -> None:
        day = datetime.fromtimestamp(at_s, UTC).date().isoformat()
        numbers = answer.days.setdefault(day, {"now": 0, "then": 0})
        numbers["now"] += fate != "appeared"
        numbers["then"] += fate != "vanished"
        answer.alerts.append({"fate": fate, "kind": "unusual", "cause": "", "alert_id": None} | alert)

    def _spoken(self, feed_id: str, question: WhatIf) -> list[Spoken]:
        wanted = [rule for rule in question.rules if not rule.feeds or feed_id in rule.feeds]
        if not wanted:
            return []
        return self.archive.spoken(feed_id=feed_id, since_s=question.since_s, until_s=question.until_s)

    def _try_rules(
        self, answer: Answer, feed_id: str, question: WhatIf, spoken: Sequence[Spoken], by_rules: Sequence[Alert]
    ) -> None:
        """Rules that are given beside those of the same name that were; those taken away."""
        named = {rule.name for rule in question.rules} | set(question.without_rules)
        then = []
        for rule in question.rules:
            if rule.name not in question.without_rules and (not rule.feeds or feed_id in rule.feeds):
                then += heard(feed_id, rule, spoken, self.site.budget)
        now = [alert for alert in by_rules if alert.cause in named and not is_quiet(alert)]
        numbers = answer.feeds[feed_id]
        kept = {alert.alert_id for alert in now} & {alert.alert_id for alert in then}
        for alert in (*now, *(alert for alert in then if alert.alert_id not in kept)):
            fate = "kept" if alert.alert_id in kept else "vanished" if alert in now else "appeared"
            numbers[fate] += 1
            numbers["now"] += fate != "appeared"
            numbers["then"] += fate != "vanished"
            self._list(answer, fate, alert.start_s, happened_json(alert))


def _by_feed(alerts: Sequence[Alert], question: WhatIf) -> defaultdict[tuple[str, str], list[Alert]]:
    """(feed, kind) -> its alerts of those days."""
    found: defaultdict[tuple[str, str], list[Alert]] = defaultdict(list)
    for alert in alerts:
        if question.since_s <= alert.start_s < question.until_s:
            found[alert.feed_id, alert.kind].append(alert)
    return found
