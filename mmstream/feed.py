"""One feed in one thread: source, packet ring, gate, decoder, windows, edge encoders.

The thread is the only one that touches the feed's input. What it makes goes into two bounded
mailboxes that the shard empties: encoded windows for fusion, pictures for encoder replicas.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmstream.alert_footage import keep_alert_footage
from mmstream.beside import read_beside
from mmstream.buffers import Mailbox
from mmstream.condition import ConditionMeter
from mmstream.config import FeedConfig, SiteConfig
from mmstream.edge_models import EdgeEncoders
from mmstream.encoders.voice import VoiceActivity
from mmstream.errors import MmstreamError, SourceError, StoreError, redact
from mmstream.evidence import PacketRing
from mmstream.feed_history import HistoryPart, history_of
from mmstream.feed_stages import FeedStages
from mmstream.holdback import Holdback
from mmstream.inputs import ReplicaInputs
from mmstream.moments import GRID, MomentArchive
from mmstream.presence import Presence
from mmstream.recording import FOOTAGE, SPEC, FootageRecorder
from mmstream.sources.media import MediaSource
from mmstream.sources.push import PushSource
from mmstream.sources.readings_csv import ReadingsFile
from mmstream.stages import Source
from mmstream.training.footage_files import FootageFiles
from mmstream.types import (
    Condition,
    ConnectionState,
    Embedding,
    EncodedWindow,
    EvidenceRequest,
    InputSpec,
    Packet,
    Reading,
    Snapshot,
    Status,
    TextSpan,
    Window,
)
from mmstream.understanding.pacing import Pacing
from mmstream.windowing import WINDOW_S

log = logging.getLogger(__name__)

OUTBOX_ITEMS = 1200
"""Encoded windows and conditions kept per feed while fusion is away: ten minutes at one of each a second, 5 MB."""
OUTBOX_INPUTS = 4
"""Pictures, sounds or texts waiting per feed and encoder; a live feed drops the oldest, a file waits."""
MAX_ANSWERS = 512
"""Answers of replicas waiting for fusion, more than can be in flight."""
PUSHED_LATE_S = 5.0
"""Words and readings may come so much later than what they tell of."""
MAX_PUSHED, PUSHED_AT_ONCE = 1000, 100
"""Words and readings that wait for the next packet, and how many of them are taken in with it."""
ASLEEP_PREVIEW_FACTOR = 6
"""A sleeping feed shows its picture so many times less often: what one would see has not changed."""
MAX_SPOKEN = 64
"""Intervals in which somebody spoke, waiting for the shard."""
RING_S = 180.0
"""Packets older than this are of no use to a clip."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a replica said of one picture of this feed; None when it will say nothing."""

    snapshot: Snapshot
    embedding: Embedding | None


class FeedRunner:
    """Reads one feed until stopped; every counter and sentence about it is in `status`."""

    def __init__(
        self,
        feed: FeedConfig,
        site: SiteConfig,
        *,
        inputs: Mapping[str, InputSpec],
        learn_history: bool = True,
        on_preview: Callable[[str, bytes], None] | None = None,
        moments: MomentArchive | None = None,
        asks: bool = False,
        voice: VoiceActivity | None = None,
        edge: EdgeEncoders | None = None,
        footage: FootageFiles | None = None,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``asks``: models are asked about its moments, so a recording waits for them. ``voice`` hears who speaks.
        ``edge``: its encoders with their models; None: as they come. ``footage``: where what the night learns from is
        kept; None: nowhere."""
        self.feed = feed
        self._site = site
        self._inputs = ReplicaInputs(inputs)
        self._learn_history = learn_history
        self._on_preview = on_preview
        self._moments = moments
        self._footage = footage
        self._recorder = FootageRecorder(feed.id, footage.push) if footage is not None else None
        self._environment = environment
        self._now = now
        self.live = feed.live if feed.live is not None else feed.loop or "://" in feed.url or feed.url == "push:"
        self.outbox: Mailbox[EncodedWindow | Condition] = Mailbox(OUTBOX_ITEMS)
        self.answers: Mailbox[Answer] = Mailbox(MAX_ANSWERS)
        self.holdback = Holdback()
        self.pacing = Pacing() if asks and not self.live else None
        self.spoken: Mailbox[tuple[float, float]] = Mailbox(MAX_SPOKEN)
        self._voice = voice
        self._listened_s = float("-inf")
        self._at_end = False
        self.asked = {name: Mailbox[Snapshot](OUTBOX_INPUTS) for name in inputs}
        self.ring = PacketRing(max_bytes=int(site.clips.ring_mb * 2**20), max_s=RING_S)
        self._inbox: Mailbox[TextSpan | Reading] = Mailbox(MAX_PUSHED)
        self.said: Mailbox[TextSpan] = Mailbox(MAX_SPOKEN)
        """What models said of it, on its way in: no flood of pushed words keeps it out."""
        self._stop = threading.Event()
        self._source: Source | None = None
        self._thread = threading.Thread(target=self._run, name=f"feed-{feed.id}", daemon=True)
        self._edge = edge or EdgeEncoders(site.encoders)
        self._status = Status(
            feed_id=feed.id, start_s=now(), end_s=now(), state="connecting", sentence=f"{feed.id}: connecting."
        )
        self._is_learning = False
        self._progress = 0.0
        self._previewed: bytes | None = None
        self._was_awake = True
        self._presence = Presence(feed.id, now)
        self._meter = ConditionMeter(feed.id)
        self._counters: dict[str, float] = {
            "windows": 0,
            "encoder_errors": 0,
            "crashes": 0,
            "history_failed": 0,
            "pictures_failed": 0,
            "beside_failed": 0,
            "beside_damaged": 0,
        }
        self._num_refused = 0
        self._heard: frozenset[Reading] = frozenset()
        self._stages: FeedStages | None = None
        self._base: dict[str, float] = {}

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return at once; the thread ends as soon as its input lets it, and nothing more comes out."""
        self._stop.set()
        if self._source is not None:
            self._source.stop()
        self.outbox.close()
        self.answers.close()
        self._inbox.close()
        self.said.close()
        for mailbox in self.asked.values():
            mailbox.close()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def drained(self) -> bool:
        """A recording that has been read to its end, with all of it handed on."""
        waiting: list[Any] = [self.outbox, self.answers, self.holdback, *self.asked.values()]
        return not self._thread.is_alive() and not any(len(queue) for queue in waiting)

    def take(self, max_items: int) -> list[EncodedWindow | Embedding | Condition]:
        """What is ready for fusion, in order: windows first, then answers to windows already taken."""
        ready: list[EncodedWindow | Embedding | Condition] = []
        for item in self.outbox.take(max_items, 0.0):
            patient = isinstance(item, EncodedWindow) and (item.history or not self.live)
            ready += self.holdback.push(item) if isinstance(item, EncodedWindow) and patient else [item]
        if self.live and self.alive and not self._is_learning and not isinstance(self._source, PushSource):
            ready += self._presence.absence(self._status.state)
        if len(self.outbox) == 0:
            for answer in self.answers.take(max_items, 0.0):
                snapshot = answer.snapshot
                if snapshot.patient:
                    ready += self.holdback.answer(snapshot.start_s, snapshot.encoder, answer.embedding)
                elif answer.embedding is not None:
                    ready.append(answer.embedding)
        return ready

    @property
    def heard_until_s(self) -> float:
        """Up to here its packets are there; nothing more comes when it has been read."""
        return float("inf") if self._at_end else self.ring.newest_s

    def inject(self, item: TextSpan | Reading) -> bool:
        """Words or a reading pushed from outside, joined to this feed's own windows. False: too many wait already; they
        are refused rather than pushing out what was taken before, and whoever sends them is told. One caller at a
        time."""
        if isinstance(self._source, PushSource):
            return self._source.push(item)
        if len(self._inbox) >= self._inbox.capacity:
            self._num_refused += 1
            return False
        self._inbox.put(item)
        return True

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read_everything()
                return
            except SourceError as error:
                self._tell("failed", error.sentence, code=error.code)  # a recording, damaged beyond use
                return
            except Exception:
                # The one broad except of this thread: a defect in a stage must cost one feed ten
                # seconds, not a shard its life.
                log.exception("feed %s stopped by a defect; starting it again", self.feed.id)
                self._counters["crashes"] += 1
                self._tell("retrying", "stopped by an internal error (see the log). Trying again in 10 seconds.", 10)
                self._stop.wait(10)

    def _read_everything(self) -> None:
        if self._learn_history and self.feed.history:
            self._learn()
        self._learn_history = False
        self._presence.start()
        self._is_learning = False
        source = self._open()
        gated = self._site.gate.enabled if self.feed.decode is None else self.feed.decode == "gate"
        self._play(source, gated=gated and self.live)

    def _learn(self) -> None:
        """Play the recordings of this camera as fast as they decode."""

        def failed(error: SourceError) -> None:
            self._counters["history_failed"] += 1
            log.warning("feed %s: %s", self.feed.id, error.sentence)

        parts = history_of(self.feed, environment=self._environment, now=self._now, on_failed=failed)
        for part in parts:
            if self._stop.is_set():
                return
            self._is_learning = True
            try:
                self._play(part.source, gated=False, history=part)
            except SourceError as error:
                failed(error)

    def _open(self) -> Source:
        if self.feed.url == "push:":
            return PushSource(self.feed, now=self._now)
        if self.feed.url.endswith(".csv"):
            return ReadingsFile(self.feed, path=self.feed.url)
        return MediaSource(self.feed, environment=self._environment, now=self._now)

    def _accompany(self, stages: FeedStages, first: Packet) -> None:
        """Let in what is written beside the camera, now that it is known when the feed began."""
        began_s = getattr(self._source, "began_s", None)
        beside = read_beside(self.feed, epoch_s=first.start_s if began_s is None else began_s)
        self._counters["beside_damaged"], self._counters["beside_failed"] = beside.num_damaged, beside.num_failed
        stages.accompany(beside.items)

    def _play(self, source: Source, *, gated: bool, history: HistoryPart | None = None) -> None:
        for name, value in self._running_counters().items():
            self._base[name] = value
        self._source = source
        learns = history is not None
        is_alone = learns or not (self.feed.captions or self.feed.readings)
        stages = self._stages = FeedStages(
            self.feed.id,
            gate=self._site.gate,
            gated=gated,
            live=self.live and not learns,
            pictures=self._inputs.pictures | ({FOOTAGE: SPEC} if self._recorder is not None else {}),
        )
        self._record(None)
        if self._stop.is_set():
            source.stop()
        for item in source:
            if self._stop.is_set():
                continue  # the source ends by itself, having been told to
            if isinstance(item, Status):
                self._status = item
                windows = stages.advance(item.start_s - PUSHED_LATE_S) if isinstance(source, PushSource) else []
            else:
                if isinstance(item, Packet) and not is_alone:
                    self._accompany(stages, item)
                    is_alone = True
                windows = stages.push(item)
            if isinstance(item, Packet):
                self._presence.came(item.kind)
                if history is None:
                    self.ring.push(item)
                else:
                    self._progress = history.progress(item.start_s)
                if item.is_key and item.kind == "video":
                    self._show(item.start_s, stages, history=learns)
            for pushed in [*self.said.take(MAX_SPOKEN, 0.0), *self._inbox.take(PUSHED_AT_ONCE, 0.0)]:
                windows += stages.push(pushed)
            for window in windows:
                self._emit(window, history=learns)
        if not self._stop.is_set():
            for window in self._last_windows(stages, history=learns):
                self._emit(window, history=learns)

    def _last_windows(self, stages: FeedStages, *, history: bool) -> list[Window]:
        """A recording ends when what is asked about it has been answered."""
        if self.pacing is None or history:
            return stages.flush()
        self._at_end = True
        self.pacing.wait_for_all(self._stop.is_set)
        late = [*self.said.take(MAX_SPOKEN, 0.0), *self._inbox.take(MAX_PUSHED, 0.0)]
        return [window for item in late for window in stages.push(item)] + stages.flush()

    def _show(self, at_s: float, stages: FeedStages, *, history: bool) -> None:
        """After a key frame, now and then: a picture for the dashboard, and one to remember what is normal."""
        if self._on_preview is None and self._moments is None:
            return
        # Asleep, nothing has moved since the first picture of that time.
        awake, self._was_awake = self._was_awake, stages.gate.awake
        every_s = self._site.clips.preview_every_s * (1 if awake else ASLEEP_PREVIEW_FACTOR)
        picture = stages.decoder.preview(GRID[0][1] if history else every_s)
        if picture is None or picture is self._previewed:
            return
        self._previewed = picture
        try:
            if self._on_preview is not None and not history:
                self._on_preview(self.feed.id, picture)
            if self._moments is not None and self._moments.due(at_s, awake=awake):
                self._moments.push(at_s, picture)
        except StoreError:
            # A full disk must not end the watching.
            self._counters["pictures_failed"] += 1
            log.exception("feed %s: a picture could not be kept", self.feed.id)

    def _listen(self, window: Window) -> None:
        """Windows overlap: every second of sound is listened to once."""
        if self._voice is None or not window.samples.size or 0 < self._listened_s - window.start_s <= WINDOW_S:
            return
        self._listened_s = window.end_s
        for start_s, end_s in self._voice.listen(window.samples).segments:
            self.spoken.put((window.start_s + start_s, window.start_s + end_s))

    def keep_footage(self, request: EvidenceRequest) -> None:
        """Of an alert, while its packets are there. May be called from any thread."""
        if self._footage is not None and self._recorder is not None:
            background = self._recorder.background
            keep_alert_footage(self.ring, request, self._footage, gate=self._site.gate, background=background)

    def _record(self, window: Window | None) -> None:
        """Of what is watched, not of the recordings of before: their times are made up."""
        if self._recorder is None or self._stages is None:
            return
        if window is not None:
            self._recorder.push(window)
        self._stages.decoder.want(FOOTAGE, wanted=self._recorder.wants and not self._is_learning)

    def _emit(self, window: Window, *, history: bool) -> None:
        """Encode one window at the edge and hand it on, with what replicas are asked about it."""
        if not history:
            self._record(window)
            if self.pacing is not None:
                self.pacing.wait_for_window(window.end_s, self._stop.is_set)
            self._listen(window)
        embeddings = []
        for encoder in self._edge.in_use:
            try:
                embedding = encoder.encode(window)
            except (MmstreamError, ValueError, ArithmeticError):
                self._counters["encoder_errors"] += 1
                log.exception("feed %s: encoder %s failed on a window", self.feed.id, encoder.channel.name)
                continue
            if embedding is not None:
                embeddings.append(embedding)
        heard, self._heard = self._heard, frozenset(window.readings)  # windows overlap: each reading counts once
        self._counters["windows"] += 1
        wait = history or not self.live
        asked = self._inputs.of(window, patient=wait)
        if window.frames or window.samples.size:
            skew_s = None if history else getattr(self._source, "clock_skew_s", None)
            self.outbox.put(self._meter.measure(window, history=history, clock_error_s=skew_s), wait=wait)
        self.outbox.put(
            EncodedWindow(
                feed_id=window.feed_id,
                start_s=window.start_s,
                end_s=window.end_s,
                embeddings=tuple(embeddings),
                pending=frozenset(asked),
                history=history,
                mode=self._meter.mode,
                readings=tuple(reading for reading in window.readings if reading not in heard),
            ),
            wait=wait,
        )
        for name, snapshot in asked.items():
            self.asked[name].put(snapshot, wait=wait)

    # -- what the operator sees -------------------------------------------------------------------

    def _tell(self, state: ConnectionState, sentence: str, retry_in_s: float = 0.0, code: str = "") -> None:
        at_s = self._now()
        self._status = Status(
            feed_id=self.feed.id,
            start_s=at_s,
            end_s=at_s,
            state=state,
            sentence=f"{self.feed.id}: {redact(sentence)}",
            retry_in_s=retry_in_s,
            code=code,
        )

    def _running_counters(self) -> dict[str, float]:
        counters: dict[str, float] = dict(self._base)
        parts: list[Mapping[str, float]] = []
        if self._source is not None:
            parts.append(getattr(self._source, "counters", {}))
        if self._stages is not None:
            parts += self._stages.counters()
        for part in parts:
            for name, value in part.items():
                counters[name] = counters.get(name, 0.0) + value
        return counters

    def status(self) -> dict[str, Any]:
        """JSON for the store: state, one true sentence, clock, counters."""
        now_s = self._now()
        status = self._status
        counters = self._running_counters() | self._counters
        counters["inputs_dropped"] = sum(mailbox.num_dropped for mailbox in self.asked.values())
        counters["windows_dropped"] = self.outbox.num_dropped
        if self._footage is not None and self._recorder is not None:
            counters |= self._recorder.counters | self._footage.counters
        counters["models_failed"] = self._edge.num_failed
        counters["pushed_refused"] = counters.get("pushed_refused", 0.0) + self._num_refused
        sentence = status.sentence
        if self._is_learning:
            sentence = f"{self.feed.id}: learning what is normal here from recordings, {self._progress:.0%} done."
        elif status.state == "live":
            sentence = self._presence.trouble(counters) or sentence
        return {
            "state": status.state,
            "code": status.code,
            "sentence": sentence,
            "retry_in_s": status.retry_in_s,
            "updated_s": now_s,
            "learning": self._progress if self._is_learning else None,
            "awake": self._stages.gate.awake if self._stages is not None else True,
            "clock": getattr(self._source, "clock", ""),
            "clock_error_s": getattr(self._source, "clock_error_s", None),
            "models": self._edge.status(),
            "counters": counters,
        }
