"""Work of many callers done together: whoever comes while some is being done waits for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Gathering(Generic[Job, Answer]):
    """Gives `work` the jobs of all who ask, so many at once; a lone caller waits for nobody.

    `work` answers each job, in order. What it raises is raised to all whose jobs it had.
    """

    def __init__(
        self, work: Callable[[Sequence[Job]], Awaitable[Sequence[Answer]]], most: int = 64
    ) -> None:
        self._work = work
        self._most = most
        self._waiting: list[tuple[Job, asyncio.Future[Answer]]] = []
        self._driving: asyncio.Task[None] | None = None

    async def ask(self, job: Job) -> Answer:
        """Have a job done."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._driving is None:
            self._driving = asyncio.create_task(self._drive())
        return await future

    async def _drive(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # those woken by the last answers have their say, too
                batch = self._waiting[: self._most]
                del self._waiting[: self._most]
                await self._serve([one for one in batch if not one[1].done()])
        finally:
            self._driving = None

    async def _serve(self, batch: Sequence[tuple[Job, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        try:
            answers = await self._work([job for job, _ in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
