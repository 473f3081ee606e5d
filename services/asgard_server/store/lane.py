"""Work that the event loop hands to a thread: in batches, there and back.

A job of its own costs the loop a wake-up of the thread, and the thread a wake-up of the
loop; among eight callers that was half of what a small create took.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, NamedTuple, TypeVar

# Where several have asked at once, a thread looks this often, so many times, whether as many
# ask again: whoever has just been answered does. One who is alone never waits for company.
LOOK_S = 0.0002
LOOKS = 10

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Asked(NamedTuple, Generic[Job, Answer]):
    """A job, and who waits for its answer."""

    job: Job
    future: asyncio.Future[Answer]


class Handover(Generic[Job, Answer]):
    """Collects the jobs that tasks of one turn of the loop have, and hands them over together.

    To be used from one event loop at a time. `take` gets what was collected, on the loop.
    """

    def __init__(self, take: Callable[[list[Asked[Job, Answer]]], None]) -> None:
        self._take = take
        self._asked: list[Asked[Job, Answer]] = []

    def ask(self, job: Job) -> asyncio.Future[Answer]:
        """The future of a job's answer. A job that is given up may be done all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._hand_over)
        self._asked.append(Asked(job, future))
        return future

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, []
        try:
            self._take(asked)
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            _settle([(one.future, error) for one in asked])


def answer(asked: Sequence[Asked[Job, Answer]], answers: Sequence[Answer | BaseException]) -> None:
    """Give all their answers in one turn of the loop; called in the thread that did the work."""
    given = [(one.future, each) for one, each in zip(asked, answers, strict=True)]
    if given:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            asked[0].future.get_loop().call_soon_threadsafe(_settle, given)


def _settle(given: Sequence[tuple[asyncio.Future[Answer], Answer | BaseException]]) -> None:
    for future, each in given:
        if future.done():  # given up
            continue
        if isinstance(each, BaseException):
            future.set_exception(each)
        else:
            future.set_result(each)


class Lane(Generic[Job, Answer]):
    """Does jobs in batches of all that wait, one batch at a time, in a thread of `pool`.

    `work` answers each of a batch, or says what was wrong with it; what it raises goes to all.
    """

    def __init__(
        self,
        pool: Executor,
        work: Callable[[list[Job]], Sequence[Answer | BaseException]],
        most: int = 64,
    ) -> None:
        self._pool = pool
        self._work = work
        self._most = most
        self._waiting: deque[Asked[Job, Answer]] = deque()
        self._driving = False
        self._lock = threading.Lock()
        self._handover: Handover[Job, Answer] = Handover(self._take)

    def ask(self, job: Job) -> asyncio.Future[Answer]:
        """The future of a job's answer."""
        return self._handover.ask(job)

    def _take(self, asked: list[Asked[Job, Answer]]) -> None:
        with self._lock:
            if not self._driving:
                self._pool.submit(self._drive)
                self._driving = True
            self._waiting.extend(asked)

    def _drive(self) -> None:
        before = 0
        while batch := self._next():
            try:
                answers = self._work([one.job for one in batch])
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait
                answers = [error] * len(batch)
            answer(batch, answers)
            expected, before = max(len(batch), before), len(batch)
            if expected > 1:
                self._gather(expected)

    def _gather(self, expected: int) -> None:
        for _ in range(LOOKS):
            time.sleep(LOOK_S)
            if len(self._waiting) >= expected:
                return

    def _next(self) -> list[Asked[Job, Answer]]:
        with self._lock:
            count = min(len(self._waiting), self._most)
            self._driving = count > 0
            return [self._waiting.popleft() for _ in range(count)]
