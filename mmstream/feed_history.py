"""A camera's own recordings, played before it goes live: placed one after the other, right before now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mmstream.config import FeedConfig
from mmstream.errors import SourceError
from mmstream.sources.length import length_s
from mmstream.sources.media import MediaSource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPart:
    """One recording, ready to be read."""

    source: MediaSource
    start_s: float
    done: float
    """Share of all of the feed's recordings that comes before it."""
    share: float
    length_s: float

    def progress(self, at_s: float) -> float:
        """Share of all recordings that has been read at a moment of this one."""
        return min(1.0, self.done + self.share * max(0.0, at_s - self.start_s) / self.length_s)


def history_of(
    feed: FeedConfig,
    *,
    environment: Mapping[str, str],
    now: Callable[[], float],
    on_failed: Callable[[SourceError], None],
) -> Iterator[HistoryPart]:
    """The recordings that can be read, in order; of the others ``on_failed`` is told: they must not keep the camera
    from being watched."""
    lengths: list[tuple[str, float]] = []
    for path in feed.history:
        try:
            lengths.append((path, length_s(feed, path)))
        except SourceError as error:
            on_failed(error)
    total_s = sum(length for _, length in lengths)
    start_s = now() - total_s
    played = feed.model_copy(update={"loop": False, "live": False})
    done_s = 0.0
    for path, this_s in lengths:
        if this_s > 0.0:
            yield HistoryPart(
                source=MediaSource(played, url=path, epoch_s=start_s + done_s, environment=environment, now=now),
                start_s=start_s + done_s,
                done=done_s / total_s,
                share=this_s / total_s,
                length_s=this_s,
            )
        done_s += this_s
