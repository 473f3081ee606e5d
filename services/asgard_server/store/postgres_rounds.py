"""Round trips to PostgreSQL that all who save results share: some begin, others are taken in.

A save goes there twice: its write is begun in the ledger, and when its object is there the index
takes it in. What some callers want for the first time and others for the second is one statement:
a round trip costs more than what it carries, and eight callers by themselves fall into groups of
two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from gimle.asgard.core.errors import AsgardError

from asgard_server.run.ledger import Write
from asgard_server.run.store import Key, ResultRow
from asgard_server.store.gathering import COMPANY_S, Gathering
from asgard_server.store.postgres_link import LOST, Kept, Link
from asgard_server.store.postgres_new import Begun, New, Taken, begin, observe_new
from asgard_server.store.written import Written, standing

_NOBODY: frozenset[Key] = frozenset()


class _Job(NamedTuple):
    """What one caller wants in the next round: writes begun, a result taken in, a digest kept."""

    writes: Sequence[Write] = ()
    new: New | None = None
    written: Written | None = None
    digest: tuple[Key, bytes] | None = None
    now: int = 0


class _Answer(NamedTuple):
    head: int
    row: ResultRow | None
    gone: frozenset[Key]


class Rounds:
    """Begins writes of one replica, and takes in new results, many of both in one statement."""

    def __init__(self, link: Link, replica: str) -> None:
        self._link = link
        self._kept = Kept(link)
        self._replica = replica
        self._jobs: Gathering[_Job, _Answer] = Gathering(
            self._serve, company_s=COMPANY_S, returning=True
        )

    async def begin(self, writes: Sequence[Write]) -> frozenset[Key]:
        """Write down writes; answer which documents and runs of theirs are being deleted."""
        gone = (await self._jobs.ask(_Job(writes=writes))).gone
        if not gone:
            return _NOBODY
        return gone & {key for write in writes for key in (write.key, Key("run", write.run_id))}

    async def take_in(self, new: New, written: Written, now: int) -> tuple[int, ResultRow] | None:
        """Make row and log entry of a new result; answer the head revision and the row.

        None when there is a row already, or it is too late to believe what is known of it.
        """
        answer = await self._jobs.ask(_Job(new=new, written=written, now=now))
        return None if answer.row is None else (answer.head, answer.row)

    async def remember(self, key: Key, digest: bytes, now: int) -> None:
        """Keep the digest of the request that made a new result."""
        await self._jobs.ask(_Job(digest=(key, digest), now=now))

    async def finish(self) -> None:
        """Wait until all that was asked is done, and let go of the connection."""
        await self._jobs.finish()
        await self._kept.close()

    async def _serve(self, jobs: Sequence[_Job]) -> list[_Answer | Exception]:
        try:
            return await self._round(jobs)
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            # What kept results from being taken in keeps nobody from beginning, nor the other
            # way round; where one of them spoilt it for all, each is tried alone.
            if any(job.writes for job in jobs) and not all(job.writes for job in jobs):
                return await self._apart(jobs)
            if isinstance(error, AsgardError):
                raise
            return [answer for job in jobs for answer in await self._serve([job])]

    async def _apart(self, jobs: Sequence[_Job]) -> list[_Answer | Exception]:
        answers: dict[int, _Answer | Exception] = {}
        for begins in (True, False):
            places = [place for place, job in enumerate(jobs) if bool(job.writes) is begins]
            some: Sequence[_Answer | Exception]
            try:
                some = await self._serve([jobs[place] for place in places])
            except AsgardError as error:
                some = [error] * len(places)
            answers |= zip(places, some, strict=True)
        return [answers[place] for place in range(len(jobs))]

    async def _round(self, jobs: Sequence[_Job]) -> list[_Answer | Exception]:
        with self._link.errors():
            try:
                taken = await self._statement(jobs)
            # A server that was restarted, or somebody else who did the same thing: the second
            # time finds what the first may have written, and changes nothing.
            except (*LOST, asyncpg.DeadlockDetectedError):
                taken = await self._statement(jobs)
        for job in jobs:
            if job.new and job.written and job.new.note.write.key in taken.rows:
                job.written.settled((job.new.note,))
        return [
            _Answer(taken.head, job.new and taken.rows.get(job.new.note.write.key), taken.gone)
            for job in jobs
        ]

    async def _statement(self, jobs: Sequence[_Job]) -> Taken:
        writes = [write for job in jobs for write in job.writes]
        begun = Begun(self._replica, writes) if writes else None
        new = [job.new for job in jobs if job.new and standing((job.new.note,), None)]
        digests = dict(job.digest for job in jobs if job.digest)
        async with self._kept.used() as connection:
            if begun and not (new or digests):
                return Taken(0, {}, await begin(connection, begun))
            now = max(job.now for job in jobs)
            return await observe_new(connection, new, now, digests, begun)
