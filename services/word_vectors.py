"""Words as vectors in the spaces of those encoders that know words, for searching pictures and sound by them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from mmstream.errors import StageError
from mmstream.types import Float32
from services.encoders import encoder_handle, words_of

log = logging.getLogger(__name__)

WAIT_S = 2.0
"""A search waits no longer for an encoder: the texts are searched without it."""
SILENT_S = 60.0
"""An encoder that knows no words, or does not answer, is asked again after so long."""


class WordsInSpaces:
    """Asks the encoders of a site; one that cannot answer is left out."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._failed_s: dict[str, float] = {}

    async def __call__(self, text: str) -> dict[str, tuple[str, Float32]]:
        """Channel -> (the model, ``text`` as a vector of that model)."""
        now_s = time.monotonic()
        asked = [name for name in self._names if now_s - self._failed_s.get(name, -SILENT_S) >= SILENT_S]
        found = await asyncio.gather(*(self._ask(name, text) for name in asked))
        return {channel: (model, vector) for channel, model, vector in (one for one in found if one is not None)}

    async def _ask(self, name: str, text: str) -> tuple[str, str, Float32] | None:
        try:
            vectors = await words_of(name, [text], timeout_s=WAIT_S)
            about = await asyncio.wait_for(encoder_handle(name).describe.remote(), WAIT_S)
        except (StageError, RayError, RayServeException, TimeoutError) as error:
            self._failed_s[name] = time.monotonic()
            log.info("search goes on without the encoder %s: %s", name, error)
            return None
        return about.channel.name, about.model, vectors[0]
