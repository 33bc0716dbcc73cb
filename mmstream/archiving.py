"""From judgements to moments worth keeping: everything unusual, the ordinary thinned out.

A plain object, fed by fusion and emptied by whoever carries moments to the archive. Bounded: what nobody fetches goes,
ordinary moments first, and is counted.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping

import numpy as np

from mmstream.analysis import Judgement
from mmstream.config import BudgetSection
from mmstream.stripping import Stripper
from mmstream.types import MAX_WINDOW_CHARS, Channel, Float16, Float32, Moment, MomentState, Strip, TextSpan

AWAKE_EVERY_S = 10.0
"""An ordinary moment is kept so often while something moves or is a little unusual ..."""
IDLE_EVERY_S = 60.0
"""... and so often while nothing happens."""
WORDS_EVERY_S = 2.0
"""Windows with new words are kept one after the other, but not the overlapping ones."""
MOVING_SHARE = 1e-3
"""Of the picture; a feed that sleeps has exactly 0."""
AWAKE_SURPRISE = 1.0
"""One window in ten is so unusual."""
MAX_STRIPS = 64
"""Of one feed, waiting for a moment to go with: one is kept every `IDLE_EVERY_S`, and a block lasts 5 s at least."""
MAX_WAITING = 4000
"""Moments of one shard, 10 MB: a day of one busy feed, two minutes of 32 feeds that all alert."""

_FLOAT16_MAX = float(np.finfo(np.float16).max)


class Archivist:
    """Chooses among the judged windows of one shard's feeds.

    Kept are: every window from the suspicion on until the alert has closed; windows with words that the one kept before
    did not have; of all others one in `AWAKE_EVERY_S` or `IDLE_EVERY_S`. History is not kept: its times are made up.
    With the first moment kept after a calibration block go its strips (`Stripper`).
    """

    def __init__(self, channels: Mapping[str, Channel], *, block_s: float = BudgetSection().block_s) -> None:
        self._stripper = Stripper(block_s=block_s)
        self._strips: defaultdict[str, deque[Strip]] = defaultdict(lambda: deque(maxlen=MAX_STRIPS))
        self._newest: dict[str, Judgement] = {}
        self._kept_channels = {name for name, channel in channels.items() if is_kept(channel)}
        self._last: dict[str, tuple[float, str]] = {}
        self._unusual: deque[Moment] = deque()
        self._ordinary: deque[Moment] = deque()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def __len__(self) -> int:
        return len(self._unusual) + len(self._ordinary)

    def push(self, judgement: Judgement) -> None:
        if judgement.history or judgement.end_s <= judgement.start_s:
            return
        strip = self._stripper.push(judgement)
        if strip is not None:
            self._strips[judgement.feed_id].append(strip)
        self._newest[judgement.feed_id] = judgement
        if not self._is_worth_keeping(judgement):
            self._counts[judgement.feed_id]["thinned"] += 1
            return
        self._keep(judgement)

    def finish(self, feed_id: str) -> None:
        """The feed has ended: its last window is kept, with the strip of the block under way."""
        strip, newest = self._stripper.finish(feed_id), self._newest.pop(feed_id, None)
        if strip is not None and newest is not None:
            self._strips[feed_id].append(strip)
            self._keep(newest)

    def hear(self, span: TextSpan) -> None:
        """Words that came late join the moments that they are about, as far as those wait here."""
        for queue in (self._unusual, self._ordinary):
            for place, moment in enumerate(queue):
                about = moment.feed_id == span.feed_id and moment.start_s < span.end_s and span.start_s < moment.end_s
                if about and span.text not in moment.text:
                    text = f"{moment.text} {span.text}".strip()[:MAX_WINDOW_CHARS]
                    queue[place] = dataclasses.replace(moment, text=text)

    def take(self, max_moments: int) -> list[Moment]:
        """What waits, unusual moments first; they are the caller's from now on."""
        taken: list[Moment] = []
        for queue in (self._unusual, self._ordinary):
            while queue and len(taken) < max_moments:
                taken.append(queue.popleft())
        return taken

    def give_back(self, moments: Iterable[Moment]) -> None:
        """The archive could not take them: they wait again, as far as there is room."""
        for moment in moments:
            self._wait(moment)

    def forget(self, feed_id: str) -> None:
        """The feed has left this shard."""
        self.finish(feed_id)
        self._last.pop(feed_id, None)
        self._strips.pop(feed_id, None)
        self._counts.pop(feed_id, None)

    def summary(self, feed_id: str) -> dict[str, int]:
        """What has been done with the feed's windows so far."""
        counts = self._counts[feed_id]
        return {f"moments_{name}": counts[name] for name in ("kept", "thinned", "dropped")}

    def _is_worth_keeping(self, judgement: Judgement) -> bool:
        last_s, last_text = self._last.get(judgement.feed_id, (-np.inf, ""))
        since_s = judgement.start_s - last_s
        if judgement.suspect or since_s < 0:
            return True
        text = judgement.score.text
        if text and text != last_text and text not in last_text and since_s >= WORDS_EVERY_S:
            return True
        return bool(since_s >= (AWAKE_EVERY_S if _is_awake(judgement) else IDLE_EVERY_S))

    def _keep(self, judgement: Judgement) -> None:
        self._last[judgement.feed_id] = (judgement.start_s, judgement.score.text)
        self._counts[judgement.feed_id]["kept"] += 1
        self._wait(self._moment(judgement))

    def _wait(self, moment: Moment) -> None:
        (self._ordinary if moment.state == "normal" else self._unusual).append(moment)
        if len(self) > MAX_WAITING:
            gone = (self._ordinary or self._unusual).popleft()
            self._counts[gone.feed_id]["dropped"] += 1

    def _moment(self, judgement: Judgement) -> Moment:
        score = judgement.score
        kept = [embedding for embedding in judgement.embeddings if embedding.channel in self._kept_channels]
        of_channels = {item.p for item in score.evidence}
        state: MomentState = "normal"
        if judgement.suspect:
            state = "alert" if judgement.alerting else "suspect"
        return Moment(
            feed_id=judgement.feed_id,
            start_s=judgement.start_s,
            end_s=judgement.end_s,
            surprise=score.surprise,
            p={item.channel: item.p for item in score.evidence},
            shares=dict(score.shares),
            state=state,
            vectors={embedding.channel: _half(embedding.vector) for embedding in kept},
            models={embedding.channel: embedding.model for embedding in kept},
            text=score.text,
            alert_id=judgement.episode,
            aspects={item.channel: item.p for item in judgement.aspects if item.p not in of_channels},
            strips=tuple(self._strips.pop(judgement.feed_id, ())),
        )


def is_kept(channel: Channel) -> bool:
    """Whether a channel's vectors are worth searching and training on: those whose neighbours look or sound alike.

    Speeds, sizes and counts say less than the p-values, which are kept of every channel; words are kept as they are.
    """
    return channel.normality in ("bank", "joint") and channel.density


def _is_awake(judgement: Judgement) -> bool:
    if judgement.score.surprise >= AWAKE_SURPRISE:
        return True
    return any(item.channel == "activity" and item.vector[0] > MOVING_SHARE for item in judgement.embeddings)


def _half(vector: Float32) -> Float16:
    return np.clip(vector, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
