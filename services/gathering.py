"""Answering many callers with one piece of work: while one batch is at work, the next gathers.

Not `serve.batch`: that closes a batch a few milliseconds after its first item, whether the model is free or not, so
callers who come one after the other wait in batches of one behind a busy model. Here nobody waits for company who could
be served, and whoever has to wait waits in the batch that comes next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gathering(Generic[Item, Answer]):
    """``work`` gets waiting items in a thread, one batch at a time; its answers go to their callers.

    A batch is as many as together are at most ``most`` by ``size_of``, and always one.

    ``work`` answers each item with a value, or with an exception to be raised for its caller alone; what it raises
    itself is raised for all of the batch. How many wait at most is for the callers to bound.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        most: int,
        size_of: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._work, self._size_of = work, size_of
        self.most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while batch := self._next():
            answers: Sequence[Answer | Exception]
            try:
                answers = await asyncio.to_thread(self._work, [item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - the loop's outermost: the callers hear of it, the next batch goes on
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():  # its caller has gone
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _next(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """The oldest that wait, without those whose callers have gone."""
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        room = self.most
        while self._waiting:
            item, future = self._waiting[0]
            if not future.done():
                room -= self._size_of(item)
                if room < 0 and batch:
                    break
                batch.append((item, future))
            self._waiting.popleft()
        return batch
