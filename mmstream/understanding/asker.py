"""One model, as a shard asks it: what waits for it, two questions at a time, and what became of them."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from mmstream.errors import MmstreamError
from mmstream.stages import Question
from mmstream.types import Float32
from mmstream.understanding.ondemand import PATIENT_WITHIN_S, MomentQueue, Tier, Waiting
from mmstream.understanding.pacing import Pacing
from mmstream.understanding.speaking import Said, Speaker

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Questions that one shard has at one model: one is answered, the next is at hand."""
PATIENT_ATTEMPTS = 4
RETRY_S = 1.0
"""A recording's moment is asked about again when the model had no room or died, after 1, 2 and 4 seconds."""
OUTCOMES = ("answered", "nothing_said", "unanswered", "nothing_left", "undecodable")
"""What became of what was asked: words; silence; no answer; the packets had gone; they could not be decoded."""

Fetch = Callable[[], "Float32 | Question | None"]
"""Decodes what is asked about, on a thread; None: nothing is left of that moment."""
Done = Callable[[Said | None], None]


class Asker:
    """Puts moments to a model: `put` them at any time, call `turn` some times a second. Runs in one event loop."""

    def __init__(self, speaker: Speaker, *, max_waiting: int, now: Callable[[], float]) -> None:
        self._speaker = speaker
        self._now = now
        self._queue = MomentQueue(max_waiting)
        self._outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def has_room(self) -> bool:
        return self._queue.has_room

    @property
    def idle(self) -> bool:
        """Nothing waits or is being asked."""
        return not self._tasks and not len(self._queue)

    def put(
        self,
        feed_id: str,
        fetch: Fetch,
        done: Done,
        *,
        tier: Tier,
        surprise: float,
        within_s: float,
        pacing: Pacing | None,
    ) -> None:
        """Let a moment wait for at most ``within_s``. ``done`` is called once, in any case. ``pacing``: that of a
        recording, which stands still meanwhile and may wait for five minutes."""
        if pacing is not None:
            pacing.asked()
            within_s = max(within_s, PATIENT_WITHIN_S)
        finish = functools.partial(_finish, done, pacing)
        attempts = 1 if pacing is None else PATIENT_ATTEMPTS
        self._queue.put(
            Waiting(
                feed_id=feed_id,
                tier=tier,
                surprise=surprise,
                give_up_s=self._now() + within_s,
                start=functools.partial(self._start, fetch, finish, attempts),
                drop=functools.partial(finish, None),
            )
        )

    def turn(self) -> None:
        """Drop what is too old, and ask as much as the model has hands for."""
        self._queue.expire(self._now())
        while len(self._tasks) < IN_FLIGHT and (moment := self._queue.take()) is not None:
            moment.start()

    def forget(self, feed_id: str) -> None:
        """The feed has left: what waits of it is dropped."""
        self._queue.discard(feed_id)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def status(self) -> dict[str, Any]:
        """Counters, how many moments wait, and why the model cannot be asked, if so."""
        counters = {**self._queue.counters, **self._outcomes, **self._speaker.counters}
        return {**counters, "waiting": len(self._queue), "trouble": self._speaker.trouble}

    def _start(self, fetch: Fetch, finish: Done, attempts: int) -> None:
        task = asyncio.create_task(self._ask(fetch, finish, attempts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, fetch: Fetch, finish: Done, attempts: int) -> None:
        said: Said | None = None
        try:
            request = await asyncio.to_thread(fetch)
            if request is None:
                self._outcomes["nothing_left"] += 1
                return
            said = await self._answer(request, attempts)
            self._outcomes["unanswered" if said is None else "answered" if said.text else "nothing_said"] += 1
        except (MmstreamError, ValueError, OSError):
            self._outcomes["undecodable"] += 1
            log.exception("a moment could not be decoded for a model")
        finally:
            finish(said)

    async def _answer(self, request: Float32 | Question, attempts: int) -> Said | None:
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(RETRY_S * 2 ** (attempt - 1))
            said = await self._speaker.ask(request)
            if said is not None or self._speaker.trouble:
                return said
        return None


def _finish(done: Done, pacing: Pacing | None, said: Said | None) -> None:
    done(said)  # first: the words shall be there when the recording goes on
    if pacing is not None:
        pacing.answered()
