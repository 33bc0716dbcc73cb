"""Cameras, web streams and recordings: opened, read, kept alive, and every change told in a sentence.

A live source never ends by itself and never raises: it says what is wrong, waits, and tries again.
A file waits for whoever reads it, drops nothing, and ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial

import av
from av.container import InputContainer

from mmstream.config import FeedConfig, resolve
from mmstream.errors import ConfigError, Ended, NotFound, SourceError
from mmstream.sources.backlog import Backlog
from mmstream.sources.backoff import Backoff
from mmstream.sources.bursts import in_bursts
from mmstream.sources.clock import ClockSource, FileClock, LiveClock, StreamClock
from mmstream.sources.connect import explain, open_container, scheme_of
from mmstream.sources.reader import PacketReader
from mmstream.sources.recording import Extent, counts_from_s, origin_of, paced
from mmstream.sources.tracks import Tracks, choose_tracks
from mmstream.types import ConnectionState, Packet, SourceItem, Status

COUNTERS = (
    "packets_video",
    "packets_audio",
    "packets_text",
    "bytes_received",
    "damaged_packets",
    "reconnects",
    "dropped_backlog",
    "clock_skew_s",
)
_NOTE_CLOCK_EVERY_S = 1.0
OPEN_ERRORS = (av.error.FFmpegError, OSError, ValueError, SourceError)
"""All that opening and reading raise: `explain` makes sentences of them."""


class MediaSource:
    """One feed, as `stages.Source`: yields `Packet`s (undecoded) and a `Status` at every change.

    ``url`` takes the place of ``feed.url`` (recordings of the same camera). ``epoch_s``: Unix time of
    second 0 of a file; None: its ``creation_time`` tag, else 0. A file with ``feed.loop`` plays for
    ever at its own pace, as a camera would. ``feed.live`` False makes a web address a recording.

    ``counters``, ``clock``, ``clock_error_s`` and ``clock_skew_s`` (the camera's clock minus ours) may be
    read from any thread.
    """

    def __init__(
        self,
        feed: FeedConfig,
        *,
        url: str | None = None,
        epoch_s: float | None = None,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._url = url or feed.url
        self._epoch_s = epoch_s
        self._environment = environment
        self._now = now
        self._stopping = threading.Event()
        self._epochs = itertools.count()
        self._clock_noted_s = 0.0
        self._first_packet_s: float | None = None
        self._last_packet_s = 0.0
        self._reading: PacketReader | None = None
        self.counters: dict[str, float] = dict.fromkeys(COUNTERS, 0.0)
        self.began_s: float | None = None
        """When a file begins, on the clock of the feed; a stream begins with its first packet."""
        self.clock: ClockSource = "file"
        self.clock_error_s: float | None = None
        self.clock_skew_s: float | None = None
        scheme = self._scheme()
        self._is_stream = scheme != "file" and not (feed.live is False and scheme in ("http", "https"))
        self.live = (self._is_stream or feed.loop) if feed.live is None else feed.live

    def _scheme(self) -> str:
        try:
            return scheme_of(resolve(self._url, self._environment))
        except ConfigError:
            return scheme_of(self._url)  # said as a status when it is opened

    def stop(self) -> None:
        """End the iteration: at once while waiting, within two read timeouts while reading."""
        self._stopping.set()

    def __iter__(self) -> Iterator[SourceItem]:
        items = self._streamed() if self._is_stream else self._played()
        with contextlib.closing(items):  # closes the container too, in the thread that reads it
            for item in items:
                if self._stopping.is_set():
                    return
                if isinstance(item, Packet):
                    self._count(item)
                yield item

    def _streamed(self) -> Generator[SourceItem]:
        """A live feed: connect, read, and after every fault say so, wait, and connect again."""
        backoff = Backoff()
        yield self._status("connecting", "connecting")
        while not self._stopping.is_set():
            self._first_packet_s = None
            began_s = self._last_packet_s = self._now()
            url = self._url
            try:
                url = resolve(self._url, self._environment)
                with open_container(url, self._feed) as container:
                    yield from self._connected(container)
                error: SourceError = Ended("the camera ended the stream")
            except ConfigError as problem:
                error = NotFound(problem.sentence)
            except OPEN_ERRORS as problem:
                waited_s = self._now() - max(began_s, self._last_packet_s)
                error = explain(problem, url, waited_s=waited_s, feed=self._feed)
            lived_s = 0.0 if self._first_packet_s is None else self._last_packet_s - self._first_packet_s
            wait_s = backoff.next_s(lived_s=lived_s, needs_person=error.needs_person)
            yield self._retry_status(error, wait_s)
            if self._stopping.wait(wait_s):
                return
            self.counters["reconnects"] += 1

    def _connected(self, container: InputContainer) -> Iterator[SourceItem]:
        tracks = choose_tracks(container, audio=self._feed.audio, epoch=next(self._epochs))
        reader = self._reader(container, tracks, LiveClock)
        packets = iter(reader)
        if self._feed.transport == "tcp":
            packets = in_bursts(packets, self._stopping)
        for packet in self._fresh(packets):
            if self._first_packet_s is None:
                self._first_packet_s = self._now()
                yield self._live_status(tracks)
            self._last_packet_s = self._now()
            yield packet

    def _played(self) -> Generator[SourceItem]:
        """A file: once, or round and round. Ends with a status ``ended`` or ``failed``."""
        try:
            url = resolve(self._url, self._environment)
            yield from self._looped(url) if self._feed.loop else self._once(url)
        except ConfigError as problem:
            yield self._status("failed", problem.sentence, code=NotFound.code)
        except OPEN_ERRORS as problem:
            error = explain(problem, self._url, feed=self._feed)
            yield self._status("failed", error.sentence, code=error.code)
        else:
            yield self._status("ended", "the recording has ended", code=Ended.code)

    def _once(self, url: str) -> Iterator[SourceItem]:
        with open_container(url, self._feed) as container:
            tracks = choose_tracks(container, audio=self._feed.audio, epoch=next(self._epochs))
            epoch_s = self._now() if self.live and self._epoch_s is None else self._epoch_s
            origin_s = origin_of(container, epoch_s)
            self.began_s = origin_s + counts_from_s(container)
            reader = self._reader(container, tracks, partial(FileClock, origin_s))
            yield self._live_status(tracks)
            extent = Extent()
            packets = extent.measured(reader)
            yield from self._fresh(paced(packets, self._now, self._stopping)) if self.live else packets
            if not self._stopping.is_set():
                extent.check(container, tuple(tracks.parameters))

    def _looped(self, url: str) -> Iterator[SourceItem]:
        """For ever, in real time. All rounds count as one connection: a decoder goes on over the seam."""
        tracks: Tracks | None = None
        origin_s, shift_s = 0.0, 0.0
        while not self._stopping.is_set():
            with open_container(url, self._feed) as container:
                found = choose_tracks(container, audio=self._feed.audio, epoch=0)
                if tracks is None:
                    tracks = found
                    origin_s = self._now() - (container.start_time or 0) / 1e6
                    self.began_s = origin_s + counts_from_s(container)
                    yield self._live_status(tracks)
                same = dataclasses.replace(found, parameters=tracks.parameters)
                reader = self._reader(container, same, partial(FileClock, origin_s), shift_s=shift_s)
                extent = Extent()
                yield from self._fresh(paced(extent.measured(reader), self._now, self._stopping))
                extent.check_not_empty()
                shift_s += extent.length_s

    def _fresh(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """A live feed drops what is too old; anything else waits for its reader."""
        backlog = Backlog()
        for packet in packets:
            if not self.live or backlog.lets_through(packet, self._now()):
                yield packet
            else:
                self.counters["dropped_backlog"] += backlog.is_behind

    def _reader(
        self, container: InputContainer, tracks: Tracks, make_clock: Callable[[], StreamClock], *, shift_s: float = 0.0
    ) -> PacketReader:
        self._reading = PacketReader(
            container,
            tracks,
            feed_id=self._feed.id,
            make_clock=make_clock,
            next_epoch=lambda: next(self._epochs),
            counters=self.counters,
            now=self._now,
            shift_s=shift_s,
        )
        return self._reading

    def _count(self, packet: Packet) -> None:
        self.counters[f"packets_{packet.kind}"] += 1
        self.counters["bytes_received"] += packet.size_bytes
        now_s = self._now()
        if now_s - self._clock_noted_s < _NOTE_CLOCK_EVERY_S or self._reading is None:
            return
        self._clock_noted_s = now_s
        clock = self._reading.main_clock
        self.clock, self.clock_error_s = clock.source, clock.error_s
        if isinstance(clock, LiveClock) and clock.skew_s is not None:
            self.clock_skew_s = self.counters["clock_skew_s"] = clock.skew_s

    def _live_status(self, tracks: Tracks) -> Status:
        kinds = {"video": "picture", "audio": "sound", "text": "captions"}
        what = ", ".join(f"{kinds[stream.kind]} {stream.codec}" for stream in tracks.parameters.values())
        if not tracks.rejected:
            return self._status("live", f"live with {what}")
        rest = " and ".join(tracks.rejected)
        return self._status("live", f"live with {what}; its {rest} cannot be decoded", code="unsupported_codec")

    def _retry_status(self, error: SourceError, wait_s: float) -> Status:
        when = f"{wait_s:.0f} seconds" if wait_s < 90 else f"{wait_s / 60:.0f} minutes"
        state: ConnectionState = "failed" if error.needs_person else "retrying"
        return self._status(state, f"{error.sentence}. Next try in {when}", code=error.code, retry_in_s=wait_s)

    def _status(self, state: ConnectionState, text: str, *, code: str = "", retry_in_s: float = 0.0) -> Status:
        now_s = self._now()
        return Status(
            feed_id=self._feed.id,
            start_s=now_s,
            end_s=now_s,
            state=state,
            sentence=f"{self._feed.id}: {text}.",
            code=code,
            retry_in_s=retry_in_s,
        )
