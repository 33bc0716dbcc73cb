"""How a fusion shard's moments reach the archive's actor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ray.exceptions import RayError

from mmstream.archiving import Archivist
from mmstream.types import Moment

log = logging.getLogger(__name__)

ARCHIVE = "archive"
"""The actor's name."""
MAX_HANDED = 1000
HANDING_S = 1.0
REFUSED_S = 15.0
"""How long to wait before what was not taken is handed over again."""
ANSWER_S = 120.0
LAST_ANSWER_S = 10.0


class Handing:
    """Carries a fusion shard's moments to the archive, outside its lock; the site never waits for it."""

    def __init__(self, archivist: Archivist, *, lock: asyncio.Lock, archive: Callable[[], Any]) -> None:
        """``lock`` guards the archivist against fusion; ``archive`` gives the archive's actor, or a ConnectionError."""
        self._archivist, self._lock, self._archive = archivist, lock, archive
        self.counters: dict[str, float] = {"handed": 0, "refused": 0}

    async def run(self) -> None:
        """For ever: hand over what waits, one batch at a time."""
        while True:
            async with self._lock:
                moments = self._archivist.take(MAX_HANDED)
            if moments and not await self._hand(moments):
                async with self._lock:
                    self._archivist.give_back(moments)
                self.counters["refused"] += 1
                await asyncio.sleep(REFUSED_S)
            await asyncio.sleep(HANDING_S)

    async def finish(self) -> None:
        """Before an orderly end: hand over what waits, as far as a few seconds allow."""
        async with self._lock:
            moments = self._archivist.take(4 * MAX_HANDED)
        if moments:
            await self._hand(moments, at_once=True)

    async def _hand(self, moments: Sequence[Moment], *, at_once: bool = False) -> bool:
        try:
            answer = self._archive().add.remote(moments, at_once)
            taken = bool(await asyncio.wait_for(answer, LAST_ANSWER_S if at_once else ANSWER_S))
        except (RayError, ConnectionError, TimeoutError) as error:
            log.warning("the archive did not take %d moments: %s", len(moments), type(error).__name__)
            return False
        self.counters["handed"] += len(moments) if taken else 0
        return taken
