"""Many feeds in one process: batches their pictures to encoders, their windows to fusion.

The same object runs in one process (`pipeline.run_local`) and inside a Ray actor
(`services.actors.DecoderShard`); only the two functions that it awaits differ.

Bounds: per feed 600 windows and 4 pictures per encoder wait at most; at most two chunks per
encoder and one batch to fusion are in flight. A full mailbox of a live feed drops the oldest and
counts it; a file waits.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mmstream.config import FeedConfig, SiteConfig
from mmstream.edge_models import EdgeModel, edge_models
from mmstream.encoders.voice import VoiceActivity
from mmstream.errors import ConfigError
from mmstream.evidence import Clip, cut_evidence
from mmstream.feed import Answer, FeedRunner
from mmstream.moments import MomentArchive
from mmstream.settle import one_thread_per_product
from mmstream.storage.base import MediaStore
from mmstream.storage.retention import evidence_folder
from mmstream.training.footage_files import footage_files
from mmstream.types import (
    Condition,
    Embedding,
    EncodedWindow,
    EvidenceRequest,
    InputSpec,
    Reading,
    Snapshot,
    TextSpan,
)
from mmstream.understanding.ondemand import Attention, PictureAnswer, PictureQuestion
from mmstream.understanding.questions import Understanding
from mmstream.understanding.speaking import Speaker

log = logging.getLogger(__name__)

POLL_S = 0.1
FUSE_EVERY_S = 0.4
"""Windows of all feeds go to fusion together: on a cluster a call costs as much as judging ten windows."""
CHUNKS_IN_FLIGHT = 2
PATIENT_ATTEMPTS = 6
"""An input of a recording is asked for over six seconds before its window goes without."""
FUSE_BATCH = 256
LATE_S = 2.0
"""Words that tell of a time so long before the newest packet have missed their windows."""
MAX_LATE_WORDS = 32
"""Of a feed and batch: the newest are kept."""
EVIDENCE_PATIENCE_S = 20.0
"""A clip is cut with what there is when its end has not come by then (the camera may be gone)."""

Encode = Callable[[Sequence[Snapshot]], Awaitable[Sequence[Embedding] | None]]
"""A chunk of pictures, sounds or texts -> their embeddings, or None when the chunk was dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceDone:
    """What became of an `EvidenceRequest`: keys in the media store, empty where there was nothing."""

    feed_id: str
    alert_id: str
    final: bool
    clip: str = ""
    thumbnail: str = ""
    spectrogram: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseBatch:
    """One call to fusion: everything of all feeds since the last one, in order per feed."""

    items: Sequence[EncodedWindow | Embedding | Condition]
    evidence: Sequence[EvidenceDone] = ()
    words: Sequence[TextSpan] = ()
    """Words that came after their windows: for alerts that are open, or have just closed."""
    answers: Sequence[PictureAnswer] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseReply:
    """Fusion's answer: what was taken in for good, which clips it wants cut, and what it wants models to say."""

    wanted: Sequence[EvidenceRequest] = ()
    attention: Sequence[Attention] = ()
    questions: Sequence[PictureQuestion] = ()
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Fuse(Protocol):
    """How a shard reaches its fusion: a plain object in one process, an actor on a cluster."""

    async def begin(self, feed_id: str) -> bool:
        """A feed starts here. True when its history must be learned (nothing is known of it)."""
        ...

    async def push(self, batch: FuseBatch) -> FuseReply: ...

    async def release(self, feed_id: str) -> None:
        """The feed has left this shard: keep its state in the store and forget it."""
        ...


class Shard:
    """Owns its feeds' threads. Feeds come and go without touching their neighbours."""

    def __init__(
        self,
        site: SiteConfig,
        *,
        encoders: Mapping[str, tuple[InputSpec, Encode]],  # by the channel that they give
        fuse: Fuse,
        media: MediaStore,
        speakers: Mapping[str, Speaker] | None = None,  # by their names in ``understanding``
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        one_thread_per_product()
        self._site = site
        self._encoders = dict(encoders)
        self._fuse = fuse
        self._media = media
        self._environment = environment
        self._now = now
        self._runners: dict[str, FeedRunner] = {}
        self._revisions: dict[str, int] = {}
        self._edge_models = edge_models(site)
        self._ending: list[FeedRunner] = []
        self._summaries: dict[str, Mapping[str, Any]] = {}
        self._done: list[EvidenceDone] = []
        self._late: dict[str, deque[TextSpan]] = {}
        self._understanding = Understanding(
            site.understanding, speakers or {}, feeds=self._runners, inject=self._join, now=now
        )
        self._voice = _voice() if self._understanding.listens else None
        self._cutting: dict[tuple[str, bool], asyncio.Task[None]] = {}
        self._encode_tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._fusing = False
        self.counters: dict[str, float] = {
            "chunks": 0,
            "chunk_inputs": 0,
            "chunks_dropped": 0,
            "fuse_retries": 0,
            "clips_failed": 0,
        }

    # -- feeds ------------------------------------------------------------------------------------

    async def add(self, feed: FeedConfig, revision: int = 0) -> None:
        """Start a feed, or start it again when its settings have changed. Asking twice is harmless."""
        if self._revisions.get(feed.id) == revision:
            return
        await self.remove(feed.id, release=False)
        self._revisions[feed.id] = revision
        learn = await self._fuse.begin(feed.id)
        await asyncio.to_thread(self._edge_models.prepare, feed.id)
        if self._revisions.get(feed.id) != revision:
            return  # removed, or changed again, while fusion made ready
        runner = FeedRunner(
            feed,
            self._site,
            inputs={name: spec for name, (spec, _) in self._encoders.items()},
            learn_history=learn,
            on_preview=self._keep_preview,
            moments=MomentArchive(feed.id, self._media),
            asks=self._understanding.asks,
            voice=self._voice,
            edge=self._edge_models.encoders(feed.id),
            footage=footage_files(feed.id, self._media, self._site.training),
            environment=self._environment,
            now=self._now,
        )
        self._runners[feed.id] = runner
        runner.start()

    async def remove(self, feed_id: str, *, release: bool = True) -> None:
        """Stop a feed. Returns at once even when its camera never answered: the thread is left to
        end at its read timeout, and nothing of it is used any more."""
        runner = self._runners.pop(feed_id, None)
        self._revisions.pop(feed_id, None)
        self._summaries.pop(feed_id, None)
        self._late.pop(feed_id, None)
        self._understanding.forget(feed_id)
        if release:
            self._edge_models.forget(feed_id)
        if runner is None:
            return
        runner.stop()
        self._ending.append(runner)
        if release:
            await self._fuse.release(feed_id)

    def inject(self, item: TextSpan | Reading) -> bool:
        """Hand a pushed item to its feed; False when the feed is not here, or has too much waiting already."""
        runner = self._runners.get(item.feed_id)
        if runner is None:
            return False
        if not runner.inject(item):
            return False
        if isinstance(item, TextSpan) and item.end_s < runner.ring.newest_s - LATE_S:
            self._late.setdefault(item.feed_id, deque(maxlen=MAX_LATE_WORDS)).append(item)
        return True

    def give_model(self, feed_id: str, encoder: str, data: bytes, version: str = "") -> bool:
        """Run a feed's edge encoder with these weights from its next window on; without data: with none. False: there
        is no such feed or encoder here.

        Raises:
            ConfigError: the weights cannot be used; nothing has changed.
        """
        return self._edge_models.give(feed_id, encoder, EdgeModel(version=version, data=data) if data else None)

    def _join(self, span: TextSpan) -> None:
        """What a model said of a feed goes the way of all words."""
        runner = self._runners.get(span.feed_id)
        if runner is not None:
            runner.said.put(span)

    def _keep_preview(self, feed_id: str, jpeg: bytes) -> None:
        self._media.put(f"feeds/{feed_id}/last.jpg", jpeg)

    def feeds(self) -> dict[str, int]:
        """feed_id -> revision of what runs here."""
        return dict(self._revisions)

    def statuses(self) -> dict[str, dict[str, Any]]:
        self._ending = [runner for runner in self._ending if runner.alive]
        understanding = self._understanding.status()
        return {
            feed_id: runner.status()
            | {"analysis": dict(self._summaries.get(feed_id, {})), "understanding": understanding}
            for feed_id, runner in self._runners.items()
        }

    @property
    def num_threads(self) -> int:
        """Feed threads alive, those on their way out included."""
        return sum(runner.alive for runner in [*self._runners.values(), *self._ending])

    # -- the loops ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve all feeds until `stop`, or, when every feed is a file, until all have been read."""
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._encoders:
                    group.create_task(self._encode_loop(name))
                group.create_task(self._fuse_loop())
                if self._understanding.asks:
                    group.create_task(self._understanding_loop())
        finally:
            self._understanding.stop()
            for runner in self._runners.values():
                runner.stop()
            for task in self._cutting.values():
                task.cancel()

    def stop(self) -> None:
        self._stopped.set()

    @property
    def drained(self) -> bool:
        """Every feed was a recording, has been read, and all of it has been fused."""
        runners = self._runners.values()
        return (
            bool(runners)
            and all(runner.drained for runner in runners)
            and not self._encode_tasks
            and not self._fusing
            and not self._done
            and not self._cutting
            and self._understanding.idle
        )

    async def _encode_loop(self, name: str) -> None:
        credits = asyncio.Semaphore(CHUNKS_IN_FLIGHT)
        section = self._site.encoders
        waiting: list[Snapshot] = []
        since_s = self._now()
        while not self._stopped.is_set():
            # With no credit left, inputs stay in the mailboxes, where live feeds drop the oldest.
            if not credits.locked():
                waiting += self._take_inputs(name, section.max_chunk - len(waiting))
                if not waiting:
                    since_s = self._now()
                elif (
                    len(waiting) >= section.max_chunk
                    or self._now() - since_s >= section.max_wait_s
                    or waiting[0].patient  # a recording is not helped by waiting for company
                ):
                    await credits.acquire()
                    task = asyncio.create_task(self._encode(name, waiting, credits))
                    self._encode_tasks.add(task)
                    task.add_done_callback(self._encode_tasks.discard)
                    waiting, since_s = [], self._now()
                    continue
            await asyncio.sleep(POLL_S)

    def _take_inputs(self, name: str, room: int) -> list[Snapshot]:
        """One per feed and turn, so that no feed can fill a chunk alone."""
        taken: list[Snapshot] = []
        while len(taken) < room:
            turn = [s for runner in list(self._runners.values()) for s in runner.asked[name].take(1, 0.0)]
            if not turn:
                break
            taken += turn
        return taken

    async def _encode(self, name: str, chunk: Sequence[Snapshot], credits: asyncio.Semaphore) -> None:
        """Ask for one chunk. Live inputs are asked for once; those of recordings a few times."""
        answered: dict[tuple[str, float], Embedding] = {}
        try:
            asked = chunk
            for attempt in range(PATIENT_ATTEMPTS):
                embeddings = await self._encoders[name][1](asked)
                self.counters["chunks"] += 1
                self.counters["chunk_inputs"] += len(asked)
                if embeddings is not None:
                    answered = {(embedding.feed_id, embedding.start_s): embedding for embedding in embeddings}
                    break
                self.counters["chunks_dropped"] += 1
                asked = [snapshot for snapshot in asked if snapshot.patient]
                if not asked:
                    break
                await asyncio.sleep(POLL_S * 2**attempt)
        finally:
            credits.release()
        for snapshot in chunk:
            runner = self._runners.get(snapshot.feed_id)
            if runner is not None:
                embedding = answered.get((snapshot.feed_id, snapshot.start_s))
                runner.answers.put(Answer(snapshot=snapshot, embedding=embedding))

    async def _fuse_loop(self) -> None:
        while not self._stopped.is_set():
            items: list[EncodedWindow | Embedding | Condition] = []
            for runner in list(self._runners.values()):
                items += runner.take(max(1, FUSE_BATCH // len(self._runners)))
            done, self._done = self._done, []
            words, answers = self._understanding.take()
            words += [span for late in self._late.values() for span in late]
            self._late.clear()
            if items or done or words or answers:
                self._fusing = True
                batch = FuseBatch(items=items, evidence=done, words=words, answers=answers)
                await self._fuse_until_taken(batch)
                self._fusing = False
            if len(items) < FUSE_BATCH // 2:
                await asyncio.sleep(FUSE_EVERY_S)

    async def _fuse_until_taken(self, batch: FuseBatch) -> None:
        """The batch stays here until fusion has answered: a fusion actor that dies gets it again."""
        while not self._stopped.is_set():
            try:
                reply = await self._fuse.push(batch)
            except ConnectionError as error:
                self.counters["fuse_retries"] += 1
                log.warning("fusion is away, holding %d items: %s", len(batch.items), error)
                await asyncio.sleep(2 * POLL_S)
                continue
            self._summaries.update(reply.summaries)
            self._understanding.attend(reply.attention)
            self._understanding.ask(reply.questions)
            self._understanding.turn()
            self._note_judged(batch)
            for request in reply.wanted:
                key = (request.alert_id, request.final)
                if key not in self._cutting and request.feed_id in self._runners:
                    task = self._cutting[key] = asyncio.create_task(self._cut(request))
                    task.add_done_callback(functools.partial(self._forget_cut, key))
            return

    def _note_judged(self, batch: FuseBatch) -> None:
        """Only now, when what they led to is asked, may recordings be read on."""
        for item in batch.items:
            runner = self._runners.get(item.feed_id)
            pacing = runner.pacing if runner is not None else None
            if pacing is not None and isinstance(item, EncodedWindow) and not item.history:
                pacing.judged()

    async def _understanding_loop(self) -> None:
        while not self._stopped.is_set():
            self._understanding.turn()
            await asyncio.sleep(POLL_S)

    def _forget_cut(self, key: tuple[str, bool], task: asyncio.Task[None]) -> None:
        self._cutting.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            self.counters["clips_failed"] += 1
            log.error("clip of %s could not be cut", key[0], exc_info=task.exception())
            self._done.append(EvidenceDone(feed_id=key[0].rpartition(":")[0], alert_id=key[0], final=key[1]))

    # -- evidence -------------------------------------------------------------------------------------

    async def _cut(self, request: EvidenceRequest) -> None:
        """Wait until the ring has reached the end of the clip, cut it, keep it, report it."""
        runner = self._runners.get(request.feed_id)
        give_up_s = self._now() + EVIDENCE_PATIENCE_S
        while runner is not None and runner.alive and runner.ring.newest_s < request.end_s and self._now() < give_up_s:
            await asyncio.sleep(POLL_S)
        if runner is None:
            return
        clip = await asyncio.to_thread(cut_evidence, runner.ring, request)
        keys = await asyncio.to_thread(self._keep_clip, request, clip) if clip is not None else {}
        done = EvidenceDone(feed_id=request.feed_id, alert_id=request.alert_id, final=request.final)
        self._done.append(dataclasses.replace(done, **keys))
        if request.final:
            await asyncio.to_thread(runner.keep_footage, request)

    def _keep_clip(self, request: EvidenceRequest, clip: Clip) -> dict[str, Any]:
        """Write what there is; -> the keys of what was written."""
        folder = evidence_folder(request.alert_id)
        suffix = "final" if request.final else "first"
        keys = {}
        for name, file, data in (
            ("clip", f"{suffix}.mp4", clip.mp4),
            ("thumbnail", f"{suffix}.jpg", clip.thumbnail_jpeg),
            ("spectrogram", f"{suffix}.png", clip.spectrogram_png),
        ):
            if data is not None:
                keys[name] = f"{folder}/{file}"
                self._media.put(keys[name], data)
        return keys


def _voice() -> VoiceActivity | None:
    """Without it only what is unusual is written down."""
    try:
        return VoiceActivity()
    except ConfigError as error:
        log.warning("nobody listens for speech: %s", error.sentence)
        return None
