"""Jobs of many callers done together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from asgard_server.store.gathering import Gathering


class Batches:
    """Work that notes how many jobs it was given together; `hold` keeps it from ending."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.begun = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, jobs: Sequence[int]) -> list[int | Exception]:
        self.sizes.append(len(jobs))
        self.begun.set()
        await self.hold.wait()
        return list(jobs)


async def test_callers_who_fell_into_two_groups_are_served_together_again() -> None:
    work = Batches()
    gathering: Gathering[int, int] = Gathering(work, company_s=5.0, returning=True)
    work.hold.clear()

    async def ask_twice(number: int) -> None:
        assert await gathering.ask(number) == number
        await asyncio.sleep(0.01)  # the way to the caller and back
        assert await gathering.ask(number) == number

    async with asyncio.TaskGroup() as tasks:
        for number in range(2):
            tasks.create_task(ask_twice(number))
        await work.begun.wait()
        for number in range(2, 5):
            tasks.create_task(ask_twice(number))
        await asyncio.sleep(0)
        work.hold.set()
    assert work.sizes[:2] == [2, 5], "the two who were answered are waited for by the three"


async def test_who_is_alone_waits_for_nobody_who_has_left() -> None:
    work = Batches()
    gathering: Gathering[int, int] = Gathering(work, company_s=0.1, returning=True)
    await asyncio.gather(*map(gathering.ask, range(4)))
    for number in range(5):
        assert await gathering.ask(number) == number
    assert work.sizes == [4, 1, 1, 1, 1, 1]
    began = time.monotonic()
    for number in range(50):
        await gathering.ask(number)
    assert time.monotonic() - began < 50 * 0.1, "one who is alone waits for nobody"


async def test_those_who_waited_meanwhile_alone_do_not_wait_for_those_who_do_not_return() -> None:
    work = Batches()
    gathering: Gathering[int, int] = Gathering(work, company_s=30.0)
    work.hold.clear()
    first = [asyncio.ensure_future(gathering.ask(number)) for number in range(2)]
    await work.begun.wait()
    second = [asyncio.ensure_future(gathering.ask(number)) for number in range(2, 4)]
    await asyncio.sleep(0)
    work.hold.set()
    answers = await asyncio.wait_for(asyncio.gather(*first, *second), 20)
    assert answers == [0, 1, 2, 3]
    assert work.sizes == [2, 2]
