"""From a site's store, media and archive, or from a folder of clips, to the `Corpus` that the night works on."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmstream.config import FeedConfig, GateSection, SiteConfig
from mmstream.errors import Damaged, StoreError
from mmstream.evaluation.video import FEED_ID, PAUSE_S, clips_in
from mmstream.feed_stages import FeedStages
from mmstream.recording import FOOTAGE, SPEC, FootageRecorder
from mmstream.sources.media import MediaSource
from mmstream.storage.archive_open import archive_url
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.base import AlertQuery, MediaStore, StoreReader
from mmstream.storage.strip_rows import StripRows
from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS
from mmstream.training.footage_chunks import burst_starts
from mmstream.training.footage_files import FootageFiles
from mmstream.training.pinned import OwnFootage, pinned
from mmstream.types import Alert, Moment, Packet, Status, Window

CLIP_FPS = 30.0
"""Every frame of most clips; of those with more, so many."""
MAX_CLIP_BYTES = 4 << 30
LAST_S = 10.0
"""After the start of the newest burst: its end, and that of an alert in it."""
LONGEST_S = 86_400.0
"""An alert that begins longer before is over when the footage begins."""
PAGE = 200
MAX_EARLIER_PAGES = 50
DAY_S = 86_400.0


def open_corpus(
    site: SiteConfig, store: StoreReader, media: MediaStore, *, now_s: float, archive: str | None = None
) -> Corpus:
    """Of all feeds of the site: what was recorded until ``now_s``, and what was found in it.

    ``training.held_out_share`` of the bursts, the newest of all feeds together, are held out. Without footage both
    parts are empty. ``archive``: its URL; None: that of the site, as far as there is one. The corpus holds neither
    footage nor moments, but opens them when it is read, so that it is small and pickles. The footage is pinned below
    ``data_dir`` for as long as this corpus lives: whoever reads twice reads the same.

    Raises:
        StoreError: the store or the media store cannot be read.
        ConfigError: the archive's URL refers to an environment variable that is not set.
    """
    feeds = store.feeds()
    names = tuple(sorted(feed.feed_id for feed in feeds))
    footage = pinned(media, names, site.site.data_dir / "pinned", now_s=now_s)
    starts = sorted(at_s for name in names for at_s in burst_starts(footage.media, name) if at_s <= now_s)
    from_s, to_s = (starts[0], starts[-1] + LAST_S) if starts else (now_s, now_s)
    url = archive_url(site) if archive is None and site.archive.enabled else archive
    budgets = {feed.feed_id: feed.settings.get("budget_alerts_per_day") for feed in feeds}
    return Corpus(
        feeds=names,
        from_s=from_s,
        split_s=split_of(starts, site.training.held_out_share) if starts else now_s,
        to_s=to_s,
        read_bursts=footage,
        read_moments=ArchivedMoments(url or ""),
        read_strips=ArchivedStrips(url or ""),
        alerts=_alerts(store, from_s, to_s),
        earlier=_judged_before(store, from_s, keep_s=site.archive.keep_days * DAY_S) if url else (),
        alerts_per_day={name: float(own or site.budget.per_camera(len(names))) for name, own in budgets.items()},
        encoders={name: dict(site.encoders.options.get(name, {})) for name in site.encoders.replicas},
    )


def split_of(starts: Sequence[float], held_out_share: float) -> float:
    """Where the held-out part begins, given when all bursts begin, in order: at the start of one of them, and behind
    the first as soon as there are two.

    >>> split_of([0.0, 60.0, 120.0, 180.0], 0.5), split_of([0.0], 0.5)
    (120.0, 0.0)
    """
    place = max(1, round(len(starts) * (1 - held_out_share)))
    return starts[min(len(starts) - 1, place)]


def corpus_of_clips(folder: Path, *, held_out_share: float, note: Callable[[str], None] = lambda _: None) -> Corpus:
    """All clips of a folder as one feed called ``clip``, one after the other, every second of them: the newest part,
    whole clips of it where there are several, is held out.

    What the site would keep is made of them first, in a temporary folder that goes with the corpus. ``note`` is told
    each clip's name.

    Raises:
        ConfigError: there is no such folder, or no clip in it.
        SourceError: a clip cannot be read.
    """
    footage = OwnFootage(Path(tempfile.mkdtemp(prefix="mmstream-footage-")))
    files = FootageFiles(FEED_ID, footage.media, max_bytes=MAX_CLIP_BYTES, keep_s=float("inf"))
    recorder = FootageRecorder(
        FEED_ID, files.push, busy_every_s=BURST_WINDOWS, idle_every_s=BURST_WINDOWS, samples_hz=CLIP_FPS
    )
    began_s = [0.0]
    for clip in clips_in(folder):
        note(clip.name)
        began_s.append(math.ceil(_record(clip, began_s[-1], recorder)) + PAUSE_S)
    if recorder.counters["footage_failed"]:
        raise StoreError(f"the footage of {folder} could not be written; free some disk")
    starts = burst_starts(footage.media, FEED_ID)
    split_s = split_of(starts, held_out_share) if starts else 0.0
    of_clips = began_s[1:-1]
    return Corpus(
        feeds=(FEED_ID,),
        from_s=0.0,
        split_s=min(of_clips, key=lambda at_s: abs(at_s - split_s)) if of_clips else split_s,
        to_s=began_s[-1],
        read_bursts=footage,
    )


def _record(clip: Path, from_s: float, recorder: FootageRecorder) -> float:
    """Play a clip from ``from_s`` on past the recorder; -> where it ends."""
    stages = FeedStages(
        FEED_ID, gate=GateSection(analysed_fps=CLIP_FPS), gated=False, live=False, pictures={FOOTAGE: SPEC}
    )
    end_s = from_s

    def take(windows: Sequence[Window]) -> None:
        for window in windows:
            recorder.push(window)
            stages.decoder.want(FOOTAGE, wanted=recorder.wants)

    stages.decoder.want(FOOTAGE, wanted=recorder.wants)
    for item in MediaSource(FeedConfig(id=FEED_ID, url=str(clip)), epoch_s=from_s):
        if isinstance(item, Status) and item.state == "failed":
            raise Damaged(f"{clip}: {item.sentence.partition(': ')[2]}")
        if isinstance(item, Packet):
            end_s = max(end_s, item.end_s)
            take(stages.push(item))
    take(stages.flush())
    return end_s


class ArchivedMoments:
    """``Corpus.read_moments`` of an archive. Holds its URL alone, so that it pickles; none is read before it is asked.

    Raises (from the iteration):
        StoreError: the archive is there, but cannot be read.
    """

    def __init__(self, url: str) -> None:
        """``url``: empty for a site that keeps none."""
        self._url = url

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> Iterator[Moment]:
        if not self._url or ("://" not in self._url and not Path(self._url).exists()):
            return iter(())
        return ArchiveReader(self._url).moments(feed_id, from_s, to_s)


class ArchivedStrips:
    """``Corpus.read_strips`` of an archive; as `ArchivedMoments`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, feed_id: str, from_s: float, to_s: float) -> Sequence[StripRows]:
        if not self._url or ("://" not in self._url and not Path(self._url).exists()):
            return ()
        return ArchiveReader(self._url).strips(feed_id=feed_id, since_s=from_s, until_s=to_s)


def _judged_before(store: StoreReader, until_s: float, *, keep_s: float) -> list[Alert]:
    """Alerts with a verdict as far back as the archive goes, oldest first; the newest of them, if there are many."""
    query = AlertQuery(since_s=until_s - keep_s, until_s=until_s, limit=PAGE)
    found: list[Alert] = []
    for _ in range(MAX_EARLIER_PAGES):
        page = store.alerts(query)
        found += [a for a in page.alerts if a.verdict in ("true", "false_alarm") and a.end_s <= until_s]
        if page.next_cursor is None:
            break
        query = dataclasses.replace(query, cursor=page.next_cursor)
    return sorted(found, key=lambda alert: alert.start_s)


def _alerts(store: StoreReader, from_s: float, to_s: float) -> list[Alert]:
    """Those that overlap ``[from_s, to_s)``, oldest first, told or not: what was unusual teaches nothing normal."""
    found = []
    for quiet in (False, True):
        query = AlertQuery(since_s=from_s - LONGEST_S, until_s=to_s, quiet=quiet, limit=PAGE)
        while True:
            page = store.alerts(query)
            found += [alert for alert in page.alerts if alert.end_s > from_s]
            if page.next_cursor is None:
                break
            query = dataclasses.replace(query, cursor=page.next_cursor)
    return sorted(found, key=lambda alert: alert.start_s)
