"""Work of many callers done together: whoever comes while some is being done waits for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")

# Where several have asked together, so long is waited for as many to ask again: whoever has
# just been answered does. A lone caller never waits for company.
COMPANY_S = 0.002
MOST = 64


class Gathering(Generic[Job, Answer]):
    """Gives `work` the jobs of all who ask, so many at once.

    `work` answers each job, in order, with an answer or the exception to be raised. What it
    raises itself is raised to all whose jobs it had. `company_s`: how long to wait for as many
    as asked together the last time. `returning`: whoever is answered asks again at once, and is
    waited for beside those who came meanwhile. Without that, callers who once fell into two
    groups stay two, each served while the other's jobs are made and in the way of it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Awaitable[Sequence[Answer | Exception]]],
        *,
        most: int = MOST,
        company_s: float = 0.0,
        returning: bool = False,
    ) -> None:
        self._work = work
        self._most = most
        self._company_s = company_s
        self._returning = returning
        self._waiting: list[tuple[Job, asyncio.Future[Answer]]] = []
        self._driving: asyncio.Task[None] | None = None
        self._expected = 1
        self._complete = asyncio.Event()

    async def ask(self, job: Job) -> Answer:
        """Have a job done."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._driving is None:
            self._driving = asyncio.create_task(self._drive())
        elif len(self._waiting) >= self._expected:
            self._complete.set()
        return await future

    async def finish(self) -> None:
        """Wait until all that was asked is done."""
        while self._driving is not None:
            await asyncio.wait([self._driving])

    async def _drive(self) -> None:
        before = 0
        try:
            while self._waiting:
                await asyncio.sleep(0)  # those woken by the last answers have their say, too
                if self._company_s and len(self._waiting) < self._expected:
                    await self._wait_for_company()
                batch = self._waiting[: self._most]
                del self._waiting[: self._most]
                await self._serve([one for one in batch if not one[1].done()])
                count = len(batch) + (len(self._waiting) if self._returning else 0)
                # One round without company is chance; who is alone for two is alone.
                self._expected, before = max(count, before), count
        finally:
            self._driving = None

    async def _wait_for_company(self) -> None:
        self._complete.clear()
        timer = asyncio.get_running_loop().call_later(self._company_s, self._complete.set)
        await self._complete.wait()
        timer.cancel()

    async def _serve(self, batch: Sequence[tuple[Job, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._work([job for job, _ in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
