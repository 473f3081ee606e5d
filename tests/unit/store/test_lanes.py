"""Jobs that go from the loop to a thread and back in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgard_server.store.lane import Lane


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


async def test_jobs_of_one_turn_are_one_batch(pool: ThreadPoolExecutor) -> None:
    batches: list[list[int]] = []

    def double(jobs: list[int]) -> list[int]:
        batches.append(jobs)
        return [job * 2 for job in jobs]

    lane: Lane[int, int] = Lane(pool, double)
    assert await asyncio.gather(*map(lane.ask, range(10))) == list(range(0, 20, 2))
    assert batches == [list(range(10))]


async def test_what_comes_while_a_batch_is_done_waits_for_the_next_and_is_not_forgotten(
    pool: ThreadPoolExecutor,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    together: list[int] = []

    def work(jobs: list[int]) -> list[int]:
        begun.set()
        go_on.wait(10)
        together.append(len(jobs))
        return jobs

    lane: Lane[int, int] = Lane(pool, work, most=50)
    first = lane.ask(0)
    await asyncio.to_thread(begun.wait, 10)
    others = [lane.ask(number) for number in range(1, 121)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(first, *others) == list(range(121))
    assert together == [1, 50, 50, 20], "one batch at a time, none above its limit"


async def test_a_lane_goes_on_after_every_rest(pool: ThreadPoolExecutor) -> None:
    lane: Lane[int, int] = Lane(pool, lambda jobs: jobs)
    for number in range(300):
        assert await asyncio.wait_for(lane.ask(number), 10) == number
        if number % 3 == 0:
            await asyncio.sleep(0.0005 * (number % 5))


async def test_what_is_wrong_with_one_job_is_told_to_that_one_alone(
    pool: ThreadPoolExecutor,
) -> None:
    def work(jobs: list[int]) -> list[int | Exception]:
        return [ValueError(f"{job}") if job == 3 else job for job in jobs]

    lane: Lane[int, int] = Lane(pool, work)
    asked = asyncio.gather(*map(lane.ask, range(5)), return_exceptions=True)
    answers = await asked
    assert [answer for answer in answers if isinstance(answer, int)] == [0, 1, 2, 4]
    assert isinstance(answers[3], ValueError)


async def test_work_that_breaks_is_told_to_all_and_the_next_batch_is_done(
    pool: ThreadPoolExecutor,
) -> None:
    def work(jobs: list[int]) -> list[int]:
        if 3 in jobs:
            raise OSError("the disk is gone")
        return jobs

    lane: Lane[int, int] = Lane(pool, work)
    answers = await asyncio.gather(*map(lane.ask, (3, 4)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    assert await lane.ask(5) == 5


async def test_a_job_given_up_does_not_keep_the_others_from_their_answers(
    pool: ThreadPoolExecutor,
) -> None:
    go_on = threading.Event()

    def work(jobs: list[int]) -> list[int]:
        go_on.wait(10)
        return jobs

    lane: Lane[int, int] = Lane(pool, work)
    given_up, other = lane.ask(1), lane.ask(2)
    await asyncio.sleep(0)
    given_up.cancel()
    go_on.set()
    assert await other == 2


async def test_a_pool_that_has_ended_refuses_those_who_ask(pool: ThreadPoolExecutor) -> None:
    lane: Lane[int, int] = Lane(pool, lambda jobs: jobs)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        await lane.ask(1)
