"""Many callers, one batch at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from services.gathering import Gathering


class Work:
    """Doubles numbers; 13 is unlucky for itself, 666 for all. Stands still while ``gate`` is shut."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        assert self.gate.wait(10)
        if 666 in items:
            raise RuntimeError("all of them")
        return [ValueError("unlucky") if item == 13 else 2 * item for item in items]


async def until(condition: Callable[[], bool], *, turns: int = 1000) -> None:
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen")


def test_nobody_waits_for_company_and_those_who_must_wait_are_served_together() -> None:
    work = Work()

    async def run() -> list[int]:
        gathering = Gathering(work, most=4)
        work.gate.clear()
        first = asyncio.create_task(gathering.ask(1))
        await until(lambda: work.batches == [[1]])
        others = [asyncio.create_task(gathering.ask(number)) for number in range(2, 8)]
        await asyncio.sleep(0)
        work.gate.set()
        return [await first, *await asyncio.gather(*others)]

    assert asyncio.run(run()) == [2, 4, 6, 8, 10, 12, 14]
    assert work.batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_a_batch_is_as_large_as_its_items_are_together() -> None:
    work = Work()

    async def run() -> None:
        gathering = Gathering(work, most=10, size_of=lambda number: number)
        work.gate.clear()
        asked = [asyncio.create_task(gathering.ask(30))]
        await until(lambda: work.batches == [[30]])
        asked += [asyncio.create_task(gathering.ask(number)) for number in (4, 6, 1, 9, 50, 2)]
        await asyncio.sleep(0)
        work.gate.set()
        await asyncio.gather(*asked)

    asyncio.run(run())
    assert work.batches == [[30], [4, 6], [1, 9], [50], [2]], "what is too large for a batch is one by itself"


def test_an_item_that_fails_fails_for_its_caller_alone_and_a_batch_that_fails_for_all_of_it() -> None:
    work = Work()

    async def run() -> list[int | BaseException]:
        gathering = Gathering(work, most=4)
        one_of_two = await asyncio.gather(gathering.ask(1), gathering.ask(13), return_exceptions=True)
        all_of_two = await asyncio.gather(gathering.ask(2), gathering.ask(666), return_exceptions=True)
        return [*one_of_two, *all_of_two, await gathering.ask(3)]

    answers = asyncio.run(run())
    assert [answer if isinstance(answer, int) else str(answer) for answer in answers] == [
        2,
        "unlucky",
        "all of them",
        "all of them",
        6,
    ]


def test_a_caller_who_has_gone_is_left_out_and_disturbs_nobody() -> None:
    work = Work()

    async def run() -> int:
        gathering = Gathering(work, most=4)
        work.gate.clear()
        at_work = asyncio.create_task(gathering.ask(1))
        await until(lambda: work.batches == [[1]])
        waiting, staying = asyncio.create_task(gathering.ask(2)), asyncio.create_task(gathering.ask(3))
        await asyncio.sleep(0)
        at_work.cancel()
        waiting.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        return await staying

    assert asyncio.run(run()) == 6
    assert work.batches == [[1], [3]]
