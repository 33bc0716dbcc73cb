"""A fusion shard's rules: what the ledger has of them, and their texts put into the space of the pictures."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from ray.exceptions import RayError

from mmstream.config import SiteConfig
from mmstream.errors import StageError
from mmstream.fusing import FusionCore
from mmstream.rules import book
from mmstream.rules.watch import CHANNEL
from mmstream.storage.base import Commit
from mmstream.types import Float32
from services.encoders import EncoderClient, words_of

log = logging.getLogger(__name__)

RULES_EVERY_S = 2.0
"""How often the ledger is asked for them."""
ASK_AGAIN_S = 10.0
"""After an encoder could not say what a text is like."""


async def read_texts(site: SiteConfig, texts: list[str]) -> tuple[str, Float32]:
    """-> (model version, (N, D)): the texts in the space of the channel that rules look at.

    Raises:
        StageError: no encoder gives that channel, it knows no words, does not answer, or is just being given a model.
    """
    names = sorted((name for name in site.encoders.replicas if name == CHANNEL or ":" in name), key=CHANNEL.__ne__)
    for name in names:
        before = await asyncio.to_thread(EncoderClient.describe, name)
        if before.channel.name != CHANNEL:
            continue
        vectors = await words_of(name, texts)
        after = await asyncio.to_thread(EncoderClient.describe, name)
        if after.model != before.model:
            raise StageError(f"the encoder {name!r} is just being given the model {after.model}")
        return after.model, vectors
    raise StageError(f"no encoder of encoders.replicas gives the channel {CHANNEL!r}")


class RuleFollower:
    """Keeps the rules of a `FusionCore` as the ledger has them. One turn at a time."""

    def __init__(self, site: SiteConfig, core: FusionCore, ledger: Any) -> None:
        self._site = site
        self._core = core
        self._ledger = ledger
        self._rules: str | None = None
        self._ask_s = 0.0

    async def turn(self, lock: asyncio.Lock) -> list[Commit]:
        """-> what ended with rules that have gone, to be written. Asks nobody while it holds the lock.

        Raises:
            RayError: the ledger is away; nothing has changed.
        """
        rules: str = await self._ledger.value.remote(book.RULES) or ""
        commits: list[Commit] = []
        if rules != self._rules:
            async with lock:
                commits = await asyncio.to_thread(self._core.follow_rules, book.read(rules))
            self._rules = rules
        await self._ask_for_texts(lock)
        return commits

    async def _ask_for_texts(self, lock: asyncio.Lock) -> None:
        texts = self._core.rule_texts.missing()[1]
        if not texts or time.monotonic() < self._ask_s:
            return
        try:
            model, vectors = await read_texts(self._site, texts)
        except (StageError, RayError, TimeoutError) as error:
            self._ask_s = time.monotonic() + ASK_AGAIN_S
            reason = error.sentence if isinstance(error, StageError) else type(error).__name__
            self._core.rule_texts.trouble = f"what the rules look for is not known: {reason}"
            log.warning("%s", self._core.rule_texts.trouble)
            return
        async with lock:
            self._core.rule_texts.put(model, texts, vectors)
            self._core.rule_texts.trouble = ""
