"""The one task of a replica that writes the index: what is waiting becomes one transaction.

New results of its own go beside it, in the rounds that begin the next ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import asyncpg
import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.run.store import Key
from asgard_server.store import postgres_transaction
from asgard_server.store.gathering import COMPANY_S, Gathering
from asgard_server.store.postgres_link import LOST, Link
from asgard_server.store.postgres_new import may_be_new, new_result
from asgard_server.store.postgres_rounds import Rounds
from asgard_server.store.postgres_transaction import Outcome, Read
from asgard_server.store.retention import DAY, Kept
from asgard_server.store.written import Written

_TRIM_EVERY = 1_000
# So that what is kept by days does not wait for a thousand changes.
_TRIM_AFTER_S = 3_600.0
_TRIMMED_AT_ONCE = 10_000

log = structlog.get_logger()


class _Job(NamedTuple):
    """What one caller wants in the next commit: documents observed, digests of requests kept."""

    keys: Sequence[Key] = ()
    digests: Sequence[tuple[Key, bytes]] = ()


class Writer:
    """Observes documents for whoever asks, in the order in which they ask."""

    def __init__(
        self,
        link: Link,
        read: Read,
        now: Callable[[], int],
        kept: Kept,
        written: Written | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        self._link = link
        self._rounds = rounds or Rounds(link, "")
        self._read = read
        self._written = written
        self._now = now
        self._kept = kept
        self._trimmed = 0
        self._trimmed_at = -_TRIM_AFTER_S
        self._trimming: asyncio.Task[None] | None = None
        self._jobs: Gathering[_Job, Outcome] = Gathering(self._serve, company_s=COMPANY_S)
        self._closed = False

    async def observe(self, keys: Sequence[Key]) -> Outcome:
        """Queue documents; answer what their commit came to.

        Raises what kept one of them from being observed.
        """
        if self._written and len(keys) == 1:
            outcome = await self._take_in(keys[0], self._written)
            if outcome is not None:
                return outcome
        return await self._ask(_Job(keys=keys))

    async def _take_in(self, key: Key, written: Written) -> Outcome | None:
        """Observe a new result; None when it is to be observed as everything else."""
        self._refuse_closed()
        new = new_result(written, key, self._now())
        taken = None if new is None else await self._rounds.take_in(new, written, self._now())
        if taken is None:
            return None
        self._trim_in_time(taken[0])
        return Outcome(taken[0], {}, {key: taken[1]})

    async def remember(self, key: Key, digest: bytes) -> None:
        """Queue the digest of a request; answer once it is committed."""
        if self._written and may_be_new(self._written, key):
            # In the statement that takes it in, asked for side by side.
            self._refuse_closed()
            await self._rounds.remember(key, digest, self._now())
        else:
            await self._ask(_Job(digests=((key, digest),)))

    async def _ask(self, job: _Job) -> Outcome:
        self._refuse_closed()
        return await self._jobs.ask(job)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the index is closed")

    async def close(self) -> None:
        """Finish what is waiting."""
        self._closed = True
        await self._rounds.finish()
        await self._jobs.finish()
        if self._trimming is not None:
            await self._trimming

    async def _serve(self, jobs: Sequence[_Job]) -> list[Outcome | Exception]:
        try:
            outcome = await self._commit(
                list(dict.fromkeys(key for job in jobs for key in job.keys)),
                [each for job in jobs for each in job.digests],
            )
        except AsgardError:
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            if len(jobs) == 1:
                return [error]
            # One of them spoilt it for all: nothing is written, so each is tried alone.
            return [answer for job in jobs for answer in await self._serve([job])]
        self._trim_in_time(outcome.head)
        return [
            next((outcome.failed[key] for key in job.keys if key in outcome.failed), outcome)
            for job in jobs
        ]

    async def _commit(self, keys: Sequence[Key], digests: Sequence[tuple[Key, bytes]]) -> Outcome:
        async def write() -> Outcome:
            async with self._link.acquired() as connection:
                return await postgres_transaction.observe(
                    connection,
                    self._read,
                    self._now(),
                    keys,
                    written=self._written,
                    digests=digests,
                )

        with self._link.errors():
            try:
                return await write()
            # A server that was restarted, or somebody else who did the same thing: the second
            # time finds what the first may have written, and changes nothing.
            except (*LOST, asyncpg.DeadlockDetectedError):
                return await write()

    def _trim_in_time(self, head: int) -> None:
        now = time.monotonic()
        if head // _TRIM_EVERY == self._trimmed and now - self._trimmed_at < _TRIM_AFTER_S:
            return
        self._trimmed, self._trimmed_at = head // _TRIM_EVERY, now
        if self._trimming is None or self._trimming.done():
            self._trimming = asyncio.create_task(self._trim(head))

    async def _trim(self, head: int) -> None:
        """Forget what is older than anybody may ask for; apart from, and beside, commits."""
        old = self._now() - self._kept.days * DAY
        try:
            async with self._link.connection() as connection:
                # The first that stays; the newest always does.
                first = await connection.fetchval(
                    "SELECT revision FROM asgard.run_log WHERE revision > $1"
                    " AND (at >= $2 OR revision >= $3) ORDER BY revision LIMIT 1",
                    *(head - self._kept.entries, old, head),
                )
                while first is not None:
                    # In pieces: whoever reads the log does not wait for a disk that is busy.
                    gone = await connection.execute(
                        "DELETE FROM asgard.run_log WHERE revision IN (SELECT revision"
                        " FROM asgard.run_log WHERE revision < $1 ORDER BY revision LIMIT $2)",
                        *(first, _TRIMMED_AT_ONCE),
                    )
                    if gone != f"DELETE {_TRIMMED_AT_ONCE}":
                        break
                for table in ("tombstones", "requests"):
                    await connection.execute(
                        f"DELETE FROM asgard.{table} WHERE at < $1",  # noqa: S608 - ours
                        old,
                    )
        except Exception as error:  # noqa: BLE001 - what is kept too long harms nobody
            with suppress(Exception):
                log.warning("old entries of the log are not removed", error=str(error))
