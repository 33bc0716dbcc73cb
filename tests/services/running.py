"""A site without Ray: the real store, the real media folder and the real API on a loopback port."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from PIL import Image, ImageDraw

from mmstream.config import FeedConfig, RuleConfig
from mmstream.errors import StoreError
from mmstream.rules import book
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.base import Commit, FeedRecord
from mmstream.storage.media import FolderMediaStore
from mmstream.storage.sqlite import SqliteStore
from mmstream.training.registry import Registry
from mmstream.types import Alert, Reading, TextSpan, alert_id
from services.api import create_app
from services.auth import hash_key
from services.model_record import What
from services.routes.replay import Replays
from services.routes.search import WordVectors
from services.routes.train import TrainingCommands

KEY = "mms_test-key"
BEARER = {"Authorization": f"Bearer {KEY}"}


class StoreCommands:
    """`Commands` straight on the store; pushed items go into a bounded list."""

    def __init__(self, store: SqliteStore, max_pushed: int = 10) -> None:
        self.store = store
        self.pushed: list[TextSpan | Reading] = []
        self.swaps: list[tuple[What, str, str, str]] = []
        self.swapping = ""
        self._max_pushed = max_pushed

    async def put_feed(self, feed_id: str, settings: Mapping[str, Any], paused: bool) -> FeedRecord:
        return await asyncio.to_thread(self.store.put_feed, feed_id, settings, paused=paused)

    async def remove_feed(self, feed_id: str) -> bool:
        return await asyncio.to_thread(self.store.remove_feed, feed_id)

    async def update_alert(self, alert_id: str, changes: Mapping[str, Any]) -> Alert | None:
        return await asyncio.to_thread(self.store.update_alert, alert_id, changes)

    async def put_rule(self, rule: RuleConfig) -> None:
        await asyncio.to_thread(book.put, self.store, rule)

    async def remove_rule(self, name: str) -> bool:
        return await asyncio.to_thread(book.remove, self.store, name)

    async def begin_swap(self, what: What, model: str, version: str, reason: str) -> None:
        if self.swapping:
            raise ValueError(f"{self.swapping} is just being swapped; ask again when that is done")
        self.swaps.append((what, model, version, reason))

    async def push_text(self, spans: Sequence[TextSpan]) -> int:
        return self._push(spans)

    async def push_readings(self, readings: Sequence[Reading]) -> int:
        return self._push(readings)

    def _push(self, items: Sequence[TextSpan | Reading]) -> int:
        if len(self.pushed) + len(items) > self._max_pushed:
            raise StoreError(f"the queue of {items[0].feed_id!r} is full; push again in a second")
        self.pushed += items
        return len(items)


@dataclass
class FakeSite:
    """Everything that `create_app` needs, to look into and to change from a test."""

    folder: Path
    now_s: float = 1_700_000_000.0
    max_streams: int = 4
    key_hash: str | None = field(default_factory=lambda: hash_key(KEY))
    probed: list[FeedConfig] = field(default_factory=list)
    archive: ArchiveReader | None = None
    word_vectors: WordVectors | None = None
    replays: Replays | None = None
    training: TrainingCommands | None = None
    probe_answer: Mapping[str, Any] | Exception = field(default_factory=lambda: {"video": {"codec": "h264"}})

    def __post_init__(self) -> None:
        self.store = SqliteStore(self.folder / "ledger.db")
        self.media = FolderMediaStore(self.folder / "media")
        self.commands = StoreCommands(self.store)
        self.registry = Registry(self.folder / "models")

    def prober(self, feed: FeedConfig) -> Mapping[str, Any]:
        self.probed.append(feed)
        if isinstance(self.probe_answer, Exception):
            raise self.probe_answer
        return self.probe_answer

    def app(self) -> FastAPI:
        return create_app(
            reader=self.store,
            commands=self.commands,
            media=self.media,
            prober=lambda feed: self.prober(feed),
            key_hash=lambda: self.key_hash,
            site_name="Harbour <b>east</b>",
            max_streams=self.max_streams,
            now=lambda: self.now_s,
            archive=self.archive,
            word_vectors=self.word_vectors,
            replays=self.replays,
            training=self.training,
            registry=lambda: self.registry,
        )

    def add_feed(self, feed_id: str = "gate-3", **settings: Any) -> FeedRecord:
        feed = FeedConfig.model_validate({"id": feed_id, "url": "rtsp://guard:s3cr3t@10.0.0.7/live"} | settings)
        return self.store.put_feed(feed_id, feed.model_dump(mode="json"))

    def raise_alert(self, feed_id: str = "gate-3", ago_s: float = 60.0, **changes: Any) -> Alert:
        alert = make_alert(feed_id, self.now_s - ago_s, **changes)
        self.store.commit(Commit(feed_id=feed_id, alerts=[alert]))
        return alert

    def close(self) -> None:
        self.store.close()


def make_alert(feed_id: str = "gate-3", start_s: float = 1_700_000_000.25, **changes: Any) -> Alert:
    values: dict[str, Any] = {
        "alert_id": alert_id(feed_id, start_s),
        "feed_id": feed_id,
        "start_s": start_s,
        "end_s": start_s + 4.0,
        "state": "open",
        "severity": "alert",
        "surprise": 4.2,
        "peak_s": start_s + 2.0,
        "expected_every_s": 86_400.0 * 11,
        "shares": {"sound": 0.7, "picture": 0.3},
        "channels": {"sound": 0.0002, "motion": 0.02},
        "sentence": "Unusual sound, once in 11 days.",
        "models": ("sound@1",),
    }
    return Alert(**(values | changes))


def make_jpeg(shade: int = 90) -> bytes:
    image = Image.new("RGB", (64, 36), (shade, shade, shade))
    ImageDraw.Draw(image).rectangle((20, 10, 40, 30), fill=(200, 60, 60))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """``app`` on a free loopback port, in a thread of its own; -> its base URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server ended before it listened"
            assert time.monotonic() < deadline, "the server did not start within 20 s"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not end"
