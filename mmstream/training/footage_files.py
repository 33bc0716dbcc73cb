"""The footage of a feed as files in the media store: a bounded past, spread evenly over the last days.

Written by whoever reads the feed, read by whoever trains. One file holds ten minutes and is named after its first
burst, so a recording that is played again overwrites its footage; what was around an alert has files of its own. Every
step is one atomic write or delete: whoever is killed in between leaves files that can be read, and the next step mends
the bound.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mmstream.config import TrainingSection
from mmstream.errors import StageError
from mmstream.storage.base import MediaStore
from mmstream.training.footage import Burst
from mmstream.training.footage_bytes import PackedBurst, bursts_of, chunk_of, packed
from mmstream.training.footage_chunks import CHUNK_S, Chunk, chunk_keys, is_chunk, is_of_alert, key, key_s, look_into

log = logging.getLogger(__name__)

THIN_TO = 0.97
"""Of the bound: thinned so far at once. Every thinning writes some files anew."""
ALERT_SHARE = 0.25
"""Of the bound, for footage of alerts at most: it is not thinned, the oldest goes."""
DAY_S = 86_400.0
DATED_FROM_S = 3650 * DAY_S
"""What was recorded before 1980 has no date: a recording that counts its seconds from 0."""


def footage_files(feed_id: str, media: MediaStore, training: TrainingSection) -> FootageFiles | None:
    """Where the footage of a feed is kept; None when the site does not learn."""
    if not training.enabled:
        return None
    return FootageFiles(
        feed_id, media, max_bytes=int(training.footage_mb * 2**20), keep_s=training.footage_days * DAY_S
    )


class FootageFiles:
    """Keeps the bursts of one feed, at most ``max_bytes`` of them and none older than ``keep_s``. For any threads.

    When they are too much, those go that are nearest to their neighbours in time: what is left is spread evenly from
    the oldest to the newest. When the two that are left are still too much, the older one goes.

    Raises (from both pushes):
        StoreError: the media store could not be read or written. The burst is not kept; the next one is tried.
    """

    def __init__(self, feed_id: str, media: MediaStore, *, max_bytes: int, keep_s: float) -> None:
        if max_bytes < 1 or not keep_s > 0:
            raise ValueError(f"FootageFiles: want max_bytes >= 1 and keep_s > 0, got {max_bytes} and {keep_s}")
        self._feed_id = feed_id
        self._media = media
        self._max_bytes, self._keep_s = max_bytes, keep_s
        self._lock = threading.Lock()
        self._chunks: dict[str, Chunk] | None = None
        self._open: tuple[str, list[PackedBurst]] | None = None
        self.counters: dict[str, float] = {"footage_thinned": 0, "footage_damaged": 0}

    @property
    def size_bytes(self) -> int:
        return sum(chunk.size_bytes for chunk in (self._chunks or {}).values())

    def push(self, burst: Burst) -> None:
        """Keep a burst; those of a feed come in order, but for one that is played again."""
        coded = packed(burst)
        with self._lock:
            if self._chunks is None:
                self._chunks = self._found()
            name, bursts = self._open_for(burst.start_s)
            bursts = [*bursts, coded]
            self._put(name, bursts)
            self._open = name, bursts
            self._expire(burst.start_s)
            self._keep_bounds()

    def push_alert(self, bursts: Sequence[Burst]) -> None:
        """Keep what was around an alert. Of the same alert again: it is overwritten."""
        coded = [packed(burst) for burst in bursts]
        with self._lock:
            if self._chunks is None:
                self._chunks = self._found()
            for _, some in itertools.groupby(coded, key=lambda burst: burst.start_s // CHUNK_S):
                together = list(some)
                self._put(key(self._feed_id, together[0].start_s, of_alert=True), together)
            self._keep_bounds()

    def _open_for(self, start_s: float) -> tuple[str, list[PackedBurst]]:
        """The file that a burst goes into, and what is in it."""
        if self._open is not None and self._open[1]:
            first_s, last_s = self._open[1][0].start_s, self._open[1][-1].start_s
            if first_s // CHUNK_S == start_s // CHUNK_S and start_s > last_s:
                return self._open
        return key(self._feed_id, start_s), []

    def _found(self) -> dict[str, Chunk]:
        """What an earlier run has left."""
        chunks = {}
        for name in chunk_keys(self._media, self._feed_id):
            try:
                found = look_into(self._media, name)
            except StageError:
                # it has its place in time, and goes when that is thinned out or too old
                self.counters["footage_damaged"] += 1
                found = Chunk(size_bytes=len(self._media.get(name) or b""), starts=(key_s(name),))
            if found is not None:
                chunks[name] = found
        if self.counters["footage_damaged"]:
            log.warning("feed %s: %d files of footage are damaged", self._feed_id, self.counters["footage_damaged"])
        return chunks

    def _put(self, name: str, bursts: list[PackedBurst]) -> None:
        """Write or, with nothing left in it, delete a file; what is known of it follows only when that went well."""
        assert self._chunks is not None
        if bursts:
            data = chunk_of(bursts)
            self._media.put(name, data)
            self._chunks[name] = Chunk(size_bytes=len(data), starts=tuple(burst.start_s for burst in bursts))
        else:
            self._media.delete(name)
            self._chunks.pop(name, None)
        if self._open is not None and self._open[0] == name:
            self._open = name, bursts

    def _expire(self, now_s: float) -> None:
        """Delete what is too old, and what is as far in the future (the clock was set back)."""
        assert self._chunks is not None
        for name, chunk in list(self._chunks.items()):
            if min(abs(now_s - start_s) for start_s in chunk.starts) > self._keep_s:
                self._put(name, [])

    def _keep_bounds(self) -> None:
        assert self._chunks is not None
        of_alerts = sorted(filter(is_of_alert, self._chunks), key=key_s)
        while of_alerts and sum(self._chunks[name].size_bytes for name in of_alerts) > ALERT_SHARE * self._max_bytes:
            self._put(of_alerts.pop(0), [])
        while self.size_bytes > self._max_bytes:
            ordinary = {name: chunk for name, chunk in self._chunks.items() if not is_of_alert(name)}
            sizes = {at: chunk.size_bytes // len(chunk.starts) for chunk in ordinary.values() for at in chunk.starts}
            gone = crowded(sizes, self.size_bytes - THIN_TO * self._max_bytes)
            for name, chunk in ordinary.items():
                if not gone.isdisjoint(chunk.starts):
                    self._put(name, [burst for burst in self._read(name) if burst.start_s not in gone])
            self.counters["footage_thinned"] += len(gone)

    def _read(self, name: str) -> list[PackedBurst]:
        """What is in a file; nothing when it is damaged, so that it goes."""
        if self._open is not None and self._open[0] == name:
            return self._open[1]
        data = self._media.get(name)
        try:
            return [] if data is None else bursts_of(data)
        except StageError:
            return []


def crowded(sizes: Mapping[float, int], too_much: float) -> set[float]:
    """Of bursts (start_s -> size in bytes) the starts of those whose neighbours are nearest to each other, until
    ``too_much`` bytes are gone; at least one. Of two that are left the older one goes.

    >>> sorted(crowded({0: 5, 10: 5, 12: 5, 14: 5, 30: 5}, 10))
    [10.0, 12.0]
    """
    left = np.array(sorted(sizes), np.float64)
    gone: set[float] = set()
    num_bytes = 0
    while left.size and (not gone or num_bytes < too_much):
        place = int(np.argmin(left[2:] - left[:-2])) + 1 if left.size > 2 else 0
        gone.add(float(left[place]))
        num_bytes += sizes[float(left[place])]
        left = np.delete(left, place)
    return gone


def prune_footage(media: MediaStore, feed_ids: Collection[str], *, now_s: float, keep_days: float) -> int:
    """Delete what nobody records any more: of feeds that are not in ``feed_ids``, and what is older than ``keep_days``
    (of cameras that are away, or when recording was turned off); -> how many files. What has no date stays."""
    oldest_s = now_s - keep_days * DAY_S
    num_gone = 0
    for name in media.keys("feeds/"):
        parts = name.split("/")
        if len(parts) != 4 or parts[2] != "footage" or not is_chunk(name):
            continue
        if parts[1] not in feed_ids or DATED_FROM_S < key_s(name) < oldest_s - CHUNK_S:
            media.delete(name)
            num_gone += 1
    return num_gone
