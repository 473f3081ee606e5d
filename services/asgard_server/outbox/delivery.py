"""Delivers what was left to be done in other services: once at least, in the order of each key.

Whoever receives it does the same once more without harm (docs/protocols.md 14). What is refused for
good is set aside for people to look at, and lets go on what is behind it: each word of a key says
all there is to say, so that a later one that was taken stands for those before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeAlias

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.outbox import metrics
from asgard_server.outbox.refused import RefusedError

SECONDS = 1.0
_PAGE = 50
# A receiver that says no may be of the release before, for a while: two minutes by their pauses.
REFUSALS = 8
_COUNTING = timedelta(seconds=15)
_LONGEST = timedelta(minutes=5)
_DOUBLED = 10

Receiver: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Does what a body says. What it raises is tried again later, `RefusedError` some times."""


class Word(NamedTuple):
    """Something that is to be done."""

    number: int
    kind: str
    key: str
    body: Mapping[str, Any]
    attempts: int


class Outbox(Protocol):
    """The rows of what is to be done."""

    async def due(self, now: datetime, limit: int) -> list[Word]:
        """What is due, of each key the first one that was not set aside."""

    async def done(self, word: Word) -> None:
        """Forget one that was done, and those of its key that were set aside before it."""

    async def later(self, number: int, due_at: datetime, problem: str) -> None:
        """Try one again, but not before then."""

    async def set_aside(self, number: int, at: datetime, problem: str) -> None:
        """Keep one that will never be taken, and deliver what is behind it."""

    async def aside(self) -> Mapping[str, int]:
        """How many of each kind were set aside and are there."""


class Turns(Protocol):
    """Of several replicas one does what is to be done once."""

    def turn(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""


class Delivery:
    """Delivers once a second, and when it is woken; of several replicas one does.

    `receivers` by the kinds of words.
    """

    def __init__(
        self,
        outbox: Outbox,
        turns: Turns,
        clock: Callable[[], datetime],
        receivers: Mapping[str, Receiver],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._outbox = outbox
        self._turns = turns
        self._clock = clock
        self._receivers = receivers
        self._seconds = seconds
        self._left = asyncio.Event()
        self._log = structlog.get_logger("asgard.outbox")

    def wake(self) -> None:
        """Something may have been left: deliver it now rather than at the next second."""
        self._left.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        for kind in self._receivers:
            metrics.known(kind)
        counted: datetime | None = None
        while True:
            self._left.clear()
            try:
                if counted is None or self._clock() - counted >= _COUNTING:
                    metrics.count_aside(await self._outbox.aside(), self._receivers)
                    counted = self._clock()
                async for mine in self._turns.turn("outbox"):
                    if mine:
                        await self.deliver()
            except AsgardError as error:
                self._log.warning("nothing is delivered", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._left.wait()

    async def deliver(self) -> int:
        """Deliver what is due; answer how much of it was settled."""
        count = 0
        while words := await self._outbox.due(self._clock(), _PAGE):
            done = await self._all(words)
            count += done
            if not done:
                break
        return count

    async def _all(self, words: Sequence[Word]) -> int:
        return sum(await asyncio.gather(*map(self._one, words)))

    async def _one(self, word: Word) -> bool:
        try:
            await self._receivers[word.kind](word.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and told
            if isinstance(error, RefusedError) and word.attempts + 1 >= REFUSALS:
                return await self._refused(word, error)
            wait = pause(word.attempts)
            metrics.DELIVERED.labels(word.kind, "failed").inc()
            self._log.warning("not delivered", kind=word.kind, key=word.key, error=str(error))
            problem = str(error) or type(error).__name__
            await self._outbox.later(word.number, self._clock() + wait, problem)
            return False
        await self._outbox.done(word)
        metrics.DELIVERED.labels(word.kind, "done").inc()
        return True

    async def _refused(self, word: Word, error: RefusedError) -> bool:
        metrics.DELIVERED.labels(word.kind, "set_aside").inc()
        self._log.error(
            *("set aside, for it was refused for good",),
            number=word.number,
            kind=word.kind,
            key=word.key,
            error=str(error),
            mend="asgard outbox",
        )
        await self._outbox.set_aside(word.number, self._clock(), str(error))
        return True  # what is behind it may be due at once


def pause(attempts: int) -> timedelta:
    """How long what has failed so often before waits to be tried again: twice as long each time."""
    return min(timedelta(seconds=2 ** min(attempts, _DOUBLED)), _LONGEST)
