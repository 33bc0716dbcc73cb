"""The fusion side of a shard: an analyzer per feed, what it decides, and what survives a crash.

Nothing here touches the ledger: `push` gives commits for the caller to write *before* it answers
the shard. Together with analyzers that ignore windows they have judged, this means that no alert
is lost and none is doubled, whenever the process is killed.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmstream.adopting import FeedAdoption
from mmstream.analysis import FeedAnalyzer, Judgement
from mmstream.archiving import Archivist
from mmstream.config import RuleConfig, SiteConfig
from mmstream.errors import MmstreamError
from mmstream.explanation import Explainer
from mmstream.fusion_rule import RuleInUse
from mmstream.moments import kept_ms, kept_with_alert
from mmstream.normality.memory import TaughtState
from mmstream.rules.resemblance import TextVectors
from mmstream.rules.watch import CHANNEL
from mmstream.shard import EvidenceDone, FuseBatch, FuseReply
from mmstream.storage.base import AlertEvent, Commit, MediaStore, StoreReader
from mmstream.types import Alert, Channel, Condition, Embedding, EncodedWindow, TextSpan
from mmstream.understanding.narrating import Narrator, alert_of
from mmstream.understanding.ondemand import Attention, PictureAnswer, PictureQuestion
from mmstream.vocabulary import taught_by

log = logging.getLogger(__name__)

SUMMARY_EVERY_S = 1.0
VERDICTS_EVERY_S = 1.0
MAX_EVENTS = 200
"""Lines of the event log read at once."""
ATTENTION_SURPRISE = 2.5
"""One window in three hundred: models are asked about it even while nothing is suspected."""
MAX_ATTENTION = 128
"""Unusual windows told in one reply; the most unusual of them."""
NO_PICTURES_IN_WORDS = "no encoder here compares pictures with words; add 'vision' with a CLIP or SigLIP folder"
MAX_LATENCY_S = 3600.0
"""Older windows are those of recordings: when they were filmed says nothing about speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What operators have said, from a stretch of the event log."""

    after: int | None
    until: int
    """The last line looked at; before ``after``: the log has been started anew."""
    events: Sequence[AlertEvent] = ()

    @property
    def is_last(self) -> bool:
        """Nothing was left to read."""
        return self.until == self.after or self.after is None


def verdicts_after(store: StoreReader, after: int | None) -> Verdicts:
    """The next lines of the event log that may carry a verdict, or take one back; from None on there are none, but
    where the log ends."""
    events = store.events_after(after, MAX_EVENTS) if after is not None else ()
    until = events[-1].sequence if events else store.last_sequence()
    return Verdicts(after=after, until=until, events=[event for event in events if event.alert.kind != "health"])


def most_unusual(windows: Sequence[Attention]) -> list[Attention]:
    """At most `MAX_ATTENTION`, in the order they came."""
    kept = sorted(windows, key=lambda window: window.surprise, reverse=True)[:MAX_ATTENTION]
    return [window for window in windows if window in kept]


def changes_of(evidence: Sequence[EvidenceDone], answers: Sequence[PictureAnswer]) -> list[tuple[str, dict[str, str]]]:
    """(alert id, fields) that a shard reported, to be filled into alerts: clips, pictures, narrations."""
    changes = []
    for done in evidence:
        keys = {"clip": done.clip, "thumbnail": done.thumbnail, "spectrogram": done.spectrogram}
        changes.append((done.alert_id, {name: key for name, key in keys.items() if key}))
    for answer in answers:
        if answer.role == "narration" and answer.text:
            changes.append((alert_of(answer.question_id), {"narration": answer.text, "narrated_by": answer.model}))
    return [(alert_id, fields) for alert_id, fields in changes if fields]


class FusionCore:
    """Analyzers of one shard's feeds. Restores a feed's state on first touch, wherever it runs."""

    def __init__(
        self,
        site: SiteConfig,
        *,
        channels: Mapping[str, Channel],
        media: MediaStore,
        tracker_of: Callable[[str], Mapping[str, Any] | None],
        now: Callable[[], float] = time.time,
        on_judgement: Callable[[Judgement], None] | None = None,
        archivist: Archivist | None = None,
    ) -> None:
        """``on_judgement`` is told of every judged window, history included: for measuring."""
        self._site = site
        self._channels = dict(channels)
        self._media = media
        self._tracker_of = tracker_of
        self._now = now
        self._on_judgement = on_judgement
        self._explain = Explainer(encoders=site.encoders.edge, kept_ms=lambda feed_id: kept_ms(media, feed_id))
        self._budgets = {feed.id: feed.budget_alerts_per_day for feed in site.feeds}
        self._num_feeds = len(site.feeds)
        self._analyzers: dict[str, FeedAnalyzer] = {}
        self._rules: tuple[RuleConfig, ...] | None = None
        self.rule_texts = TextVectors()
        """What rules look for, in the space of the pictures: whoever calls asks the encoder for what is missing."""
        self._snapshot_s: dict[str, float] = {}
        self._summary_s = 0.0
        self._heard: int | None = None
        understanding = site.understanding
        self._asks = bool(understanding.speech or understanding.captions)
        self._attention: list[Attention] = []
        narration = understanding.narration
        self._narrator = Narrator(with_pictures=narration != "seq2seq") if narration else None
        self.archivist = archivist
        self._latencies: deque[float] = deque(maxlen=2000)
        self.counters: dict[str, float] = {"judged": 0, "bad_items": 0, "snapshots": 0, "verdicts": 0}

    def begin(self, feed_id: str, alerts_per_day: float | None = None) -> bool:
        """Make the feed's analyzer ready; True when its history must be learned.

        ``alerts_per_day``: a budget of the feed's own; None: the site's. A changed budget keeps what
        was learned. A history that was cut off half-way is learned anew: only an analyzer that has judged live
        windows counts as taught.
        """
        if alerts_per_day != self._budgets.get(feed_id):
            self.release(feed_id)
            self._budgets[feed_id] = alerts_per_day
        analyzer = self._analyzers.get(feed_id) or self._restored(feed_id)
        if not analyzer.has_been_live:
            fresh = self._fresh(feed_id)
            fresh.take_health_of(analyzer)
            analyzer = fresh
        self._analyzers[feed_id] = analyzer
        return not analyzer.has_been_live

    def share_budget(self, num_feeds: int) -> None:
        """So many feeds share the site's budget now, those added over the API too; none is restarted for it."""
        if num_feeds == self._num_feeds:
            return
        self._num_feeds = num_feeds
        for feed_id, analyzer in self._analyzers.items():
            analyzer.allow(self._alerts_per_day(feed_id))

    def follow_rules(self, rules: Sequence[RuleConfig]) -> list[Commit]:
        """From now on these are the site's rules, for every feed here; -> what ends with those that have gone."""
        self._rules = tuple(rules)
        self.rule_texts.want([rule.looks_like.strip() for rule in rules if rule.looks_like.strip()])
        if CHANNEL not in self._channels:
            self.rule_texts.trouble = NO_PICTURES_IN_WORDS
        commits = []
        for feed_id, analyzer in self._analyzers.items():
            alerts = tuple(kept_with_alert(alert, self._media) for alert in analyzer.follow_rules(rules))
            if alerts:
                commits.append(Commit(feed_id=feed_id, alerts=alerts, tracker=analyzer.tracker_state()))
        return commits

    def push(self, batch: FuseBatch) -> tuple[FuseReply, list[Commit]]:
        """Judge everything in the batch; write the commits, then give the reply to the shard."""
        alerts: dict[str, list[Alert]] = {}
        changed: set[str] = set()
        for done in batch.evidence:
            self._note_evidence(done)
            changed.add(done.feed_id)
        for item in batch.items:
            for alert in self._check(item) if isinstance(item, Condition) else self._judge(item):
                alerts.setdefault(alert.feed_id, []).append(alert)
                changed.add(alert.feed_id)
                if alert.state == "closed" and alert.kind == "unusual":
                    # its windows are in quarantine now: without them a verdict after a crash could teach nothing
                    self._snapshot_s[alert.feed_id] = -math.inf
        for span in batch.words:
            for alert in self._take_words(span):
                alerts.setdefault(alert.feed_id, []).append(alert)
                changed.add(alert.feed_id)
        for answer in batch.answers:
            for alert in self._analyzer(answer.feed_id).rule_answer(answer):
                alerts.setdefault(alert.feed_id, []).append(kept_with_alert(alert, self._media))
                changed.add(alert.feed_id)
        touched = {item.feed_id for item in batch.items} | changed
        confirmations = [question for feed_id in sorted(touched) for question in self._questions(feed_id)]
        changed |= {question.feed_id for question in confirmations}  # a held alert must survive a crash, too
        commits = [
            Commit(
                feed_id=feed_id,
                alerts=tuple(alerts.get(feed_id, ())),
                tracker=self._analyzer(feed_id).tracker_state(),
            )
            for feed_id in sorted(changed)
        ]
        wanted = [request for feed_id in sorted(touched) for request in self._analyzer(feed_id).evidence_wanted()]
        told = [alert for feed_alerts in alerts.values() for alert in feed_alerts]
        questions = confirmations + (self._narrator.push(told) if self._narrator is not None else [])
        attention, self._attention = most_unusual(self._attention), []
        reply = FuseReply(wanted=wanted, attention=attention, questions=questions, summaries=self._due_summaries())
        return reply, commits

    def adopt(self, adoptions: Sequence[FeedAdoption]) -> dict[str, int]:
        """Before another model is put to use: -> feed -> histories it took over, written before this returns, so that
        they are there whatever is killed. Feeds that do not run here are left out."""
        taken = {}
        for adoption in adoptions:
            analyzer = self._analyzers.get(adoption.feed_id)
            if analyzer is not None:
                taken[adoption.feed_id] = analyzer.adopt(adoption)
                self._keep(adoption.feed_id, analyzer)
        return taken

    def give_fusion(self, data: bytes, version: str) -> bool:
        """Join modalities by this trained rule from now on; empty: by the harmonic mean. False: the site has another
        rule. Raises ConfigError: the weights cannot be used; nothing has changed."""
        if not self._fusion.give(data, version):
            return False
        for analyzer in self._analyzers.values():
            self._fusion.put_into(analyzer)
        return True

    def finish(self, feed_ids: Iterable[str] | None = None) -> list[Commit]:
        """Files have ended: judge what was held back and close what is open."""
        commits = []
        for feed_id in list(feed_ids if feed_ids is not None else self._analyzers):
            analyzer = self._analyzer(feed_id)
            judgements = analyzer.flush()
            self._tell(judgements)
            alerts = tuple(kept_with_alert(alert, self._media) for judged in judgements for alert in judged.alerts)
            if alerts:
                commits.append(Commit(feed_id=feed_id, alerts=alerts, tracker=analyzer.tracker_state()))
            if self.archivist is not None:
                self.archivist.finish(feed_id)
        return commits

    def release(self, feed_id: str) -> None:
        """Keep what was learned and forget the feed: it goes on elsewhere, or was removed."""
        analyzer = self._analyzers.pop(feed_id, None)
        if self.archivist is not None:
            self.archivist.forget(feed_id)
        if analyzer is not None:
            self._keep(feed_id, analyzer)

    def snapshot_some(self, *, all_feeds: bool = False) -> int:
        """Write the learned state of the feed that has waited longest, if it is due."""
        now_s = self._now()
        for feed_id in self._analyzers:
            self._snapshot_s.setdefault(feed_id, now_s)  # -inf: it has something that must not be lost
        every_s = 0.0 if all_feeds else self._site.shards.snapshot_every_s
        due = [feed_id for feed_id in self._analyzers if now_s - self._snapshot_s[feed_id] >= every_s]
        due.sort(key=lambda feed_id: self._snapshot_s[feed_id])
        for feed_id in due if all_feeds else due[:1]:
            self._keep(feed_id, self._analyzers[feed_id])
        return len(due)

    def heard_until(self) -> int | None:
        """Verdicts up to this line of the event log are known to every feed here; None: nobody has listened yet."""
        cursors = [analyzer.verdict_cursor for analyzer in self._analyzers.values()]
        return min((cursor for cursor in cursors if cursor is not None), default=self._heard)

    def hear(self, verdicts: Verdicts) -> None:
        """Tell each feed the verdicts it has not heard yet. Where each stands is kept with what it has learned, so
        that none is lost with the process."""
        restarted = verdicts.after is not None and verdicts.until < verdicts.after
        for feed_id, analyzer in self._analyzers.items():
            cursor = analyzer.verdict_cursor
            if cursor is not None and verdicts.after is not None and cursor < verdicts.after:
                continue  # restored meanwhile: it stands further back, and the next stretch begins there
            num_new = 0
            for event in verdicts.events:
                if event.alert.feed_id == feed_id and event.sequence > (cursor or 0):
                    num_new += analyzer.verdict(event.alert)
            analyzer.verdict_cursor = verdicts.until if restarted else max(cursor or 0, verdicts.until)
            if num_new:
                self.counters["verdicts"] += num_new
                self._keep(feed_id, analyzer)  # at once: with the next snapshot a minute of verdicts would be lost
        self._heard = verdicts.until

    def latency_s(self) -> dict[str, float]:
        """Seconds from the end of a window to its judgement, over the last 2000 live windows."""
        if not self._latencies:
            return {}
        ordered = sorted(self._latencies)
        return {"p50": ordered[len(ordered) // 2], "p95": ordered[int(len(ordered) * 0.95)]}

    # -- inside -----------------------------------------------------------------------------------

    def _check(self, condition: Condition) -> Sequence[Alert]:
        alerts = self._analyzer(condition.feed_id).check(condition)
        return [kept_with_alert(alert, self._media) for alert in alerts]

    def _questions(self, feed_id: str) -> list[PictureQuestion]:
        return self._analyzer(feed_id).rule_questions()

    def _take_words(self, span: TextSpan) -> Sequence[Alert]:
        if self.archivist is not None:
            self.archivist.hear(span)
        return [kept_with_alert(alert, self._media) for alert in self._analyzer(span.feed_id).late_words(span)]

    def _attend(self, judgement: Judgement) -> None:
        """Note what models should be asked about."""
        surprise = judgement.score.surprise
        if not judgement.history and (judgement.suspect or surprise >= ATTENTION_SURPRISE):
            self._attention.append(
                Attention(
                    feed_id=judgement.feed_id, start_s=judgement.start_s, end_s=judgement.end_s, surprise=surprise
                )
            )

    def _judge(self, item: EncodedWindow | Embedding) -> Sequence[Alert]:
        analyzer = self._analyzer(item.feed_id)
        taught = analyzer.has_been_live
        try:
            judgements = analyzer.push(item)
        except (MmstreamError, ValueError, ArithmeticError):
            self.counters["bad_items"] += 1
            log.exception("feed %s: a window could not be judged", item.feed_id)
            return ()
        self.counters["judged"] += len(judgements)
        self._tell(judgements)
        for judgement in judgements:
            if self._asks:
                self._attend(judgement)
            latency_s = self._now() - judgement.end_s
            if not judgement.history and latency_s < MAX_LATENCY_S:
                self._latencies.append(latency_s)
        if analyzer.has_been_live and not taught:
            self._keep(item.feed_id, analyzer)  # the history is learned: never again, whatever is killed
        return [kept_with_alert(alert, self._media) for judgement in judgements for alert in judgement.alerts]

    def _tell(self, judgements: Iterable[Judgement]) -> None:
        for judgement in judgements:
            if self.archivist is not None:
                self.archivist.push(judgement)
            if self._on_judgement is not None:
                self._on_judgement(dataclasses.replace(judgement, embeddings=()))  # they are kept by the thousands

    def _note_evidence(self, done: EvidenceDone) -> None:
        self._analyzer(done.feed_id).evidence_done(done.alert_id, done.final)

    def _analyzer(self, feed_id: str) -> FeedAnalyzer:
        if feed_id not in self._analyzers:
            self._analyzers[feed_id] = self._restored(feed_id)
        return self._analyzers[feed_id]

    def _fresh(self, feed_id: str) -> FeedAnalyzer:
        analyzer = FeedAnalyzer(
            feed_id,
            channels=self._channels,
            budget=self._site.budget,
            max_wait_s=self._site.windows.max_wait_s,
            clips=self._site.clips,
            fusion=self._site.fusion,
            alerts_per_day=self._alerts_per_day(feed_id),
            prior_maxima=lambda: self._maxima_of_others(feed_id),
            explain=self._explain,
            rule_texts=self.rule_texts,
            taught=self._taught,
        )
        self._fusion.put_into(analyzer)
        if self._rules is not None:
            analyzer.follow_rules(self._rules)
        return analyzer

    def _alerts_per_day(self, feed_id: str) -> float:
        """A budget of the feed's own, or its part of the site's."""
        return self._budgets.get(feed_id) or self._site.budget.per_camera(self._num_feeds)

    def _maxima_of_others(self, feed_id: str) -> Sequence[float]:
        """What the other feeds here know of how high unusual moments rise: a new one starts from that."""
        others = [analyzer.block_excesses() for name, analyzer in self._analyzers.items() if name != feed_id]
        return [float(excess) for excesses in others for excess in excesses]

    @functools.cached_property
    def _fusion(self) -> RuleInUse:
        return RuleInUse(self._site)

    @functools.cached_property
    def _taught(self) -> Mapping[str, TaughtState]:
        """By the site's vocabulary, shared until a feed says its first words."""
        return taught_by(self._site.words.vocabulary)

    def _restored(self, feed_id: str) -> FeedAnalyzer:
        analyzer = self._fresh(feed_id)
        analyzer.restore(self._media.get(_state_key(feed_id)), self._tracker_of(feed_id))
        return analyzer

    def _keep(self, feed_id: str, analyzer: FeedAnalyzer) -> None:
        self._media.put(_state_key(feed_id), analyzer.snapshot())
        self._snapshot_s[feed_id] = self._now()
        self.counters["snapshots"] += 1

    def _due_summaries(self) -> dict[str, Mapping[str, Any]]:
        now_s = self._now()
        if now_s - self._summary_s < SUMMARY_EVERY_S:
            return {}
        self._summary_s = now_s
        return self.summaries()

    def summaries(self) -> dict[str, Mapping[str, Any]]:
        """feed_id -> how far its learning and alerting have come."""
        latency = {"latency_s": self.latency_s()} if self._latencies else {}
        kept = self.archivist.summary if self.archivist is not None else lambda _: {}
        return {feed_id: analyzer.summary() | kept(feed_id) | latency for feed_id, analyzer in self._analyzers.items()}


def _state_key(feed_id: str) -> str:
    return f"feeds/{feed_id}/learned.npz"
