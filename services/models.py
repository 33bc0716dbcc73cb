"""The site's own models while it runs: which versions are in use, swapped one at a time, watched, and taken back.

Part of the supervisor. Nothing is known here that is not in the registry or, for people to read, in the store: killed
at any moment, it starts again with what the registry says, and brings encoders that say otherwise back to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from ray.exceptions import RayError

from mmstream.config import SiteConfig
from mmstream.errors import MmstreamError, StageError
from mmstream.storage.base import AlertQuery, StoreReader
from mmstream.storage.open import open_store
from mmstream.training import swap
from mmstream.training.registry import Registry
from mmstream.training.versions import REPLICAS, encoders_of, feed_of, open_registry, registry_of
from mmstream.training.watching import WATCHED_S, Look, WatchedFeed, look_at
from mmstream.types import Alert
from services.model_record import MODEL_LOOKS, MODEL_SWAPS, SwapRecord, What, read_swaps
from services.swapping import RayPlace

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
PAGE, MAX_PAGES = 500, 4
"""Of more alerts than that nobody doubts that they are too many."""


class ModelKeeper:
    """One swap at a time; whoever asks for a second meanwhile waits for the first."""

    def __init__(
        self,
        site: SiteConfig,
        ledger: Any,
        *,
        look_for_encoders: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``look_for_encoders``: is told when an encoder may have got its first model, or given up its last."""
        self._site, self._ledger, self._now = site, ledger, now
        self._look_for_encoders = look_for_encoders
        self._swaps: dict[str, SwapRecord] = {}
        self._one_at_a_time = asyncio.Lock()
        self._swapping = ""
        self._background: asyncio.Task[None] | None = None
        self._looks = ""

    async def run(self) -> None:
        """For ever: first make what runs what the registry says, then watch what is in use."""
        is_first = True
        while True:
            try:
                if is_first:
                    self._swaps = read_swaps(await self._ledger.value.remote(MODEL_SWAPS)) | self._swaps
                    await self._note_broken_off()
                    is_first = False
                async with self._one_at_a_time:
                    await asyncio.to_thread(self._bring_back)
                await self._watch()
            except Exception:
                # This loop's one broad except: a look that fails is taken again in a minute.
                log.exception("looking at the models failed")
            await asyncio.sleep(LOOK_EVERY_S)

    def begin(self, what: What, model: str, version: str, reason: str) -> None:
        """Start a swap, and do not wait for it: `MODEL_SWAPS` in the store tells what becomes of it.

        Raises:
            ValueError: another one is under way.
        """
        if self._swapping:
            raise ValueError(f"{self._swapping} is just being swapped; ask again when that is done")
        self._swapping = model
        task = self.promote(model, version, reason) if what == "promote" else self.roll_back(model, reason)
        self._background = asyncio.get_running_loop().create_task(_forgotten(task))

    async def promote(self, model: str, version: str, reason: str) -> swap.Swapped:
        """Put a version to use, and wait until it is.

        Raises:
            MmstreamError: it could not be; the version before is still in use.
        """
        steps = partial(swap.promote, model=model, version=version, reason=reason)
        return await self._do("promote", model, version, steps)

    async def roll_back(self, model: str, reason: str) -> swap.Swapped:
        """Put the version before to use, or none, and wait until it is. Raises MmstreamError: it could not be."""
        return await self._do("roll back", model, "", partial(swap.roll_back, model=model, reason=reason))

    # -- inside -------------------------------------------------------------------------------------

    async def _do(self, what: What, model: str, version: str, steps: Callable[..., swap.Swapped]) -> swap.Swapped:
        async with self._one_at_a_time:
            self._swapping = model
            record = SwapRecord(model=model, version=version, what=what, began_s=self._now())
            await self._note(record)
            try:
                done = await asyncio.to_thread(self._swap, steps)
            except MmstreamError as error:
                await self._note(record.failed(error.sentence, self._now()))
                log.warning("%s %s %s failed: %s", what, model, version, error.sentence)
                raise
            except Exception as error:
                # The outermost one of a swap: whatever it was, nobody must wait for its end for ever.
                await self._note(record.failed(f"{type(error).__name__}: {error}", self._now()))
                log.exception("%s %s %s failed", what, model, version)
                raise StageError(f"{model} was not swapped ({type(error).__name__}: {error})") from error
            finally:
                self._swapping = ""
            await self._note(record.finished(done, self._now()))
            log.info("%s: %s is in use instead of %s", model, done.version or "none", done.before or "none")
            if not done.version or not done.before:
                self._look_for_encoders()
            return done

    def _swap(self, steps: Callable[..., swap.Swapped]) -> swap.Swapped:
        registry = Registry(registry_of(self._site))
        return steps(registry, RayPlace(self._site), at_s=self._now())

    def _bring_back(self) -> None:
        """What was cut off in the middle of a swap runs what the registry says, again."""
        registry, place = open_registry(self._site), RayPlace(self._site)
        for model in REPLICAS:
            if encoders_of(model, self._site.encoders.replicas):
                version = registry.in_use(model).version if registry is not None else ""
                if not place.runs(model, version):
                    log.warning("the encoders of %s do not run what the registry says: %s", model, version or "none")
                    place.push(model, version)
        if registry is None:
            return
        for model, running in place.edge_versions().items():
            version = registry.in_use(model).version
            if running != version:
                log.warning("%s does not run what the registry says: %s", model, version or "none")
                place.push(model, version)

    async def _watch(self) -> None:
        """Take back what does not keep the budget."""
        looks = await asyncio.to_thread(looks_at, self._site, self._now())
        said = json.dumps({model: look.sentence for model, look in looks.items()})
        if said != self._looks:
            await self._ledger.put_value.remote(MODEL_LOOKS, said)
            self._looks = said
        for model, look in looks.items():
            if look.too_many:
                await self.roll_back(model, f"Taken back by itself: {look.sentence}")

    async def _note(self, record: SwapRecord) -> None:
        self._swaps[record.model] = record
        swaps = {model: dataclasses.asdict(swap) for model, swap in self._swaps.items()}
        try:
            await self._ledger.put_value.remote(MODEL_SWAPS, json.dumps(swaps))
        except RayError as error:
            log.warning("the ledger did not take what became of a swap: %s", type(error).__name__)

    async def _note_broken_off(self) -> None:
        for record in list(self._swaps.values()):
            if record.state == "running":
                await self._note(record.failed("The process that swapped was ended in the middle.", self._now()))


async def _forgotten(swapping: Coroutine[Any, Any, swap.Swapped]) -> None:
    """Nobody waits for it: why it failed stands in the store."""
    with contextlib.suppress(MmstreamError):
        await swapping


def looks_at(site: SiteConfig, now_s: float) -> dict[str, Look]:
    """Every model whose version was promoted in the last days -> how well it keeps the budget.

    Raises:
        StoreError: the registry or the store cannot be read.
    """
    registry = open_registry(site)
    if registry is None:
        return {}
    watched = {}
    for model in registry.names():
        known = registry.in_use(model)
        # a version that is in use because another was taken back was good enough before: it is not taken back, too
        if known.version and not known.rolled_back and now_s - known.since_s < WATCHED_S:
            watched[model] = known.since_s
    if not watched:
        return {}
    store = open_store(site, write=False)
    try:
        alerts = alerts_since(store, min(watched.values()))
        statuses = store.statuses()
    finally:
        store.close()
    return {
        model: look_at(
            alerts, watched_feeds(site, model, statuses), since_s=since_s, now_s=now_s, block_s=site.budget.block_s
        )
        for model, since_s in watched.items()
    }


def watched_feeds(site: SiteConfig, model: str, statuses: Mapping[str, Mapping[str, Any]]) -> list[WatchedFeed]:
    """The feeds that a model judges, with what their thresholds come from."""
    found = []
    for feed_id, status in statuses.items():
        analysis = status.get("analysis") or {}
        if feed_of(model) in ("", feed_id) and analysis.get("blocks"):
            budget = float(analysis.get("budget_per_day") or site.budget.alerts_per_camera_per_day)
            found.append(WatchedFeed(feed_id=feed_id, alerts_per_day=budget, num_blocks=int(analysis["blocks"])))
    return found


def alerts_since(store: StoreReader, since_s: float) -> list[Alert]:
    """Told or not, the newest first; not more than so many of each."""
    found: list[Alert] = []
    for quiet in (False, True):
        query = AlertQuery(since_s=since_s, limit=PAGE, quiet=quiet)
        for _ in range(MAX_PAGES):
            page = store.alerts(query)
            found += page.alerts
            if page.next_cursor is None:
                break
            query = dataclasses.replace(query, cursor=page.next_cursor)
    return found
