"""Where the archive is written: one actor, with LanceDB in a process of its own.

The ledger must never wait for it or fall with it, and LanceDB takes 110 MB wherever it is imported; so fusion hands
moments over, the actor gathers them for some seconds (LanceDB makes a file per write), and answers when they are on
the disk. What was not answered is handed over again: writing a moment twice changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from ray.exceptions import RayError

from mmstream.archive_pictures import with_pictures
from mmstream.config import SiteConfig
from mmstream.errors import MmstreamError
from mmstream.settle import settle
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.open import open_media
from mmstream.types import Moment
from services.actors import LEDGER, beside_us, find, launch
from services.handing import ARCHIVE, MAX_HANDED
from services.routes.context import ARCHIVE_STATUS

log = logging.getLogger(__name__)

GATHER_S = 15.0
MAX_GATHERED = MAX_HANDED
"""So many moments are written at once, without waiting for more."""
MAX_HELD = 8 * MAX_HANDED
"""Beyond this a shard is told to come again."""
TIDY_EVERY_S = 1800.0
TIDY_FIRST_S = 120.0
OPEN_EVERY_S = 30.0
"""An archive that cannot be opened (a disk that is not mounted yet) is tried again so often."""


class ArchiveKeeper:
    """The one writer of the archive, in an actor. It never fails a call: what it cannot do it counts, and says."""

    def __init__(self, site_json: str) -> None:
        self._site = SiteConfig.model_validate_json(site_json)
        self._media = open_media(self._site)
        self._writer: ArchiveWriter | None = None
        self._opened_s = float("-inf")
        self._gathered: list[Moment] = []
        self._written = asyncio.Event()
        self._full = asyncio.Event()
        self._lock = asyncio.Lock()
        self._counters: dict[str, float] = {"written": 0, "failed": 0, "expired": 0, "pictures_failed": 0, "bytes": 0}
        self._trouble = ""
        settle()
        loop = asyncio.get_running_loop()
        self._background = (loop.create_task(self._write_often()), loop.create_task(self._tidy_often()))

    async def pid(self) -> int:
        return os.getpid()

    async def add(self, moments: Sequence[Moment], at_once: bool = False) -> bool:
        """True when they are on the disk; False: not taken, hand them over again later."""
        if len(self._gathered) + len(moments) > MAX_HELD:
            return False
        self._gathered += moments
        written = self._written
        if at_once or len(self._gathered) >= MAX_GATHERED:
            self._full.set()
        await written.wait()
        return not self._trouble

    async def status(self) -> dict[str, Any]:
        return {"trouble": self._trouble, "waiting": len(self._gathered), "counters": dict(self._counters)}

    async def _write_often(self) -> None:
        while True:
            self._full.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), GATHER_S)
            await self._write()

    async def _write(self) -> None:
        async with self._lock:
            moments, self._gathered = self._gathered, []
            written, self._written = self._written, asyncio.Event()
            try:
                if moments:
                    self._counters["written"] += await asyncio.to_thread(self._put, moments)
                    self._trouble = ""
            except MmstreamError as error:
                self._counters["failed"] += 1
                self._writer = None  # whatever is wrong with the place, begin with opening it
                self._say(error.sentence)
            finally:
                written.set()
        await self._tell()

    async def _tell(self) -> None:
        """Leave in the store how it goes; while the ledger is away nobody hears it, and no harm is done."""
        try:
            await find(LEDGER).put_value.remote(ARCHIVE_STATUS, json.dumps(await self.status()))
        except (RayError, ConnectionError) as error:
            log.info("the ledger did not take the archive's status: %s", type(error).__name__)

    def _put(self, moments: Sequence[Moment]) -> int:
        writer = self._open()
        named, jpegs, num_failed = with_pictures(moments, self._media)
        self._counters["pictures_failed"] += num_failed
        return writer.write(named, jpegs)

    def _open(self) -> ArchiveWriter:
        if self._writer is None:
            wait_s = self._opened_s + OPEN_EVERY_S - time.monotonic()
            if wait_s > 0:
                raise MmstreamError(self._trouble or "the archive is being opened")
            self._opened_s = time.monotonic()
            self._writer = ArchiveWriter.from_site(self._site)
        return self._writer

    async def _tidy_often(self) -> None:
        await asyncio.sleep(TIDY_FIRST_S)
        while True:
            async with self._lock:
                try:
                    if self._writer is not None:
                        tidied = await asyncio.to_thread(self._writer.tidy, time.time())
                        self._counters["expired"] += tidied.num_expired + tidied.num_over_size
                        self._counters["bytes"] = tidied.num_bytes
                except MmstreamError as error:
                    self._counters["failed"] += 1
                    self._say(error.sentence)
            await asyncio.sleep(TIDY_EVERY_S)

    def _say(self, sentence: str) -> None:
        if sentence != self._trouble:
            log.warning("%s", sentence)
        self._trouble = sentence


def start_archive(site: SiteConfig) -> Any:
    """Start the archive's actor, or find it running; None when ``archive.enabled`` is false."""
    if not site.archive.enabled:
        return None
    return launch(ArchiveKeeper, ARCHIVE, site.model_dump_json(), options=beside_us())
