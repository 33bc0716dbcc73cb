"""The fusion side of a shard: an analyzer per feed, what it decides, and what survives a crash.

Nothing here touches the ledger: `push` gives commits for the caller to write *before* it answers
the shard. Together with analyzers that ignore windows they have judged, this means that no alert
is lost and none is doubled, whenever the process is killed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmstream.analysis import FeedAnalyzer
from mmstream.config import SiteConfig
from mmstream.errors import MmstreamError
from mmstream.shard import EvidenceDone, FuseBatch, FuseReply
from mmstream.storage.base import Commit, MediaStore
from mmstream.types import Alert, Channel, Embedding, EncodedWindow

log = logging.getLogger(__name__)

SUMMARY_EVERY_S = 1.0
MAX_LATENCY_S = 3600.0
"""Older windows are those of recordings: when they were filmed says nothing about speed."""


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
    ) -> None:
        self._site = site
        self._channels = dict(channels)
        self._media = media
        self._tracker_of = tracker_of
        self._now = now
        self._budgets = {feed.id: feed.budget_alerts_per_day for feed in site.feeds}
        self._analyzers: dict[str, FeedAnalyzer] = {}
        self._snapshot_s: dict[str, float] = {}
        self._summary_s = 0.0
        self._latencies: deque[float] = deque(maxlen=2000)
        self.counters: dict[str, float] = {"judged": 0, "bad_items": 0, "snapshots": 0}

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
            analyzer = self._fresh(feed_id)
        self._analyzers[feed_id] = analyzer
        return not analyzer.has_been_live

    def push(self, batch: FuseBatch) -> tuple[FuseReply, list[Commit]]:
        """Judge everything in the batch; write the commits, then give the reply to the shard."""
        alerts: dict[str, list[Alert]] = {}
        changed: set[str] = set()
        for done in batch.evidence:
            self._note_evidence(done)
            changed.add(done.feed_id)
        for item in batch.items:
            for alert in self._judge(item):
                alerts.setdefault(alert.feed_id, []).append(alert)
                changed.add(alert.feed_id)
        commits = [
            Commit(
                feed_id=feed_id,
                alerts=tuple(alerts.get(feed_id, ())),
                tracker=self._analyzer(feed_id).tracker_state(),
            )
            for feed_id in sorted(changed)
        ]
        touched = {item.feed_id for item in batch.items} | changed
        wanted = [request for feed_id in sorted(touched) for request in self._analyzer(feed_id).evidence_wanted()]
        return FuseReply(wanted=wanted, summaries=self._due_summaries()), commits

    def finish(self, feed_ids: Iterable[str] | None = None) -> list[Commit]:
        """Files have ended: judge what was held back and close what is open."""
        commits = []
        for feed_id in list(feed_ids if feed_ids is not None else self._analyzers):
            analyzer = self._analyzer(feed_id)
            alerts = tuple(alert for judgement in analyzer.flush() for alert in judgement.alerts)
            if alerts:
                commits.append(Commit(feed_id=feed_id, alerts=alerts, tracker=analyzer.tracker_state()))
        return commits

    def release(self, feed_id: str) -> None:
        """Keep what was learned and forget the feed: it goes on elsewhere, or was removed."""
        analyzer = self._analyzers.pop(feed_id, None)
        if analyzer is not None:
            self._keep(feed_id, analyzer)

    def snapshot_some(self, *, all_feeds: bool = False) -> int:
        """Write the learned state of the feed that has waited longest, if it is due."""
        now_s = self._now()
        for feed_id in self._analyzers:
            self._snapshot_s.setdefault(feed_id, now_s)
        every_s = 0.0 if all_feeds else self._site.shards.snapshot_every_s
        due = [feed_id for feed_id in self._analyzers if now_s - self._snapshot_s[feed_id] >= every_s]
        due.sort(key=lambda feed_id: self._snapshot_s[feed_id])
        for feed_id in due if all_feeds else due[:1]:
            self._keep(feed_id, self._analyzers[feed_id])
        return len(due)

    def latency_s(self) -> dict[str, float]:
        """Seconds from the end of a window to its judgement, over the last 2000 live windows."""
        if not self._latencies:
            return {}
        ordered = sorted(self._latencies)
        return {"p50": ordered[len(ordered) // 2], "p95": ordered[int(len(ordered) * 0.95)]}

    # -- inside -----------------------------------------------------------------------------------

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
        for judgement in judgements:
            latency_s = self._now() - judgement.end_s
            if not judgement.history and latency_s < MAX_LATENCY_S:
                self._latencies.append(latency_s)
        if analyzer.has_been_live and not taught:
            self._keep(item.feed_id, analyzer)  # the history is learned: never again, whatever is killed
        return [alert for judgement in judgements for alert in judgement.alerts]

    def _note_evidence(self, done: EvidenceDone) -> None:
        self._analyzer(done.feed_id).evidence_done(done.alert_id, done.final)

    def _analyzer(self, feed_id: str) -> FeedAnalyzer:
        if feed_id not in self._analyzers:
            self._analyzers[feed_id] = self._restored(feed_id)
        return self._analyzers[feed_id]

    def _fresh(self, feed_id: str) -> FeedAnalyzer:
        return FeedAnalyzer(
            feed_id,
            channels=self._channels,
            budget=self._site.budget,
            max_wait_s=self._site.windows.max_wait_s,
            clips=self._site.clips,
            alerts_per_day=self._budgets.get(feed_id),
        )

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
        return {feed_id: analyzer.summary() | latency for feed_id, analyzer in self._analyzers.items()}


def _state_key(feed_id: str) -> str:
    return f"feeds/{feed_id}/learned.npz"
