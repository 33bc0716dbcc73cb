"""What is written in files beside a camera: captions and sensor readings, on the clock of its feed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from mmstream.config import FeedConfig
from mmstream.errors import SourceError
from mmstream.sources.captions import CaptionSource
from mmstream.sources.readings_csv import ReadingsFile
from mmstream.types import Reading, SourceItem, Status, TextSpan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Words and readings in order of time. Files that cannot be read are counted and told in the log: a wrong path
    must not keep the camera from being watched."""

    items: tuple[TextSpan | Reading, ...] = ()
    num_damaged: int = 0
    """Captions, cells and lines that say nothing."""
    num_failed: int = 0
    """Files."""


def read_beside(feed: FeedConfig, *, epoch_s: float) -> Beside:
    """``epoch_s``: when the feed began; times in the files count from there."""
    sources: list[CaptionSource | ReadingsFile] = []
    if feed.captions:
        sources.append(CaptionSource(feed, path=feed.captions, epoch_s=epoch_s))
    if feed.readings:
        sources.append(ReadingsFile(feed, path=feed.readings, epoch_s=epoch_s))
    items: list[TextSpan | Reading] = []
    num_failed = 0
    for source in sources:
        try:
            found = list(source)
        except SourceError as error:
            log.warning("feed %s: %s", feed.id, error.sentence)
            num_failed += 1
            continue
        items += [item for item in found if isinstance(item, TextSpan | Reading)]
        num_failed += _says_why(feed.id, found)
    items.sort(key=lambda item: item.start_s)
    num_damaged = sum(source.num_damaged for source in sources)
    return Beside(items=tuple(items), num_damaged=num_damaged, num_failed=num_failed)


def _says_why(feed_id: str, found: Iterable[SourceItem]) -> bool:
    for item in found:
        if isinstance(item, Status) and item.code:
            log.warning("feed %s: %s", feed_id, item.sentence)
            return True
    return False
