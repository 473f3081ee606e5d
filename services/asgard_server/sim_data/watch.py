"""WatchJobs: the change log of jobs, watched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gimle.asgard.v1 import watch_jobs_pb2 as pb

from asgard_server.feed.feed import Feed
from asgard_server.sim_data import codec
from asgard_server.sim_data.domain import Job
from asgard_server.sim_data.store import Log, RevisionGoneError
from asgard_server.watching.frames import Event, Frames
from asgard_server.watching.log_watch import LogWatch
from asgard_server.watching.source import PAGE, LogGoneError, News
from asgard_server.watching.tokens import Tokens

TOPIC = "jobs"
# A letter for the log of jobs: a token of another service's log is not of this kind.
TOKENS = Tokens(b"j", "WatchJobs", "jobs")
_FRAMES = Frames(pb.WatchJobsResponse)
_Change = pb.WatchJobsResponse.Change


class JobWatch(LogWatch):
    """Everybody who watches jobs. `limits` are those of `LogWatch`."""

    def __init__(self, log: Log, feed: Feed, **limits: Any) -> None:
        super().__init__(_Jobs(log), feed, TOPIC, _FRAMES, TOKENS, **limits)


def bell(log: Log, feed: Feed) -> Callable[[], Awaitable[None]]:
    """What rings when a job has changed."""

    async def told() -> None:
        _, revision = await log.head()
        await feed.ring(TOPIC, revision)

    return told


class _Jobs:
    """The table of jobs as a `Source`; it has one scope."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def head(self) -> tuple[str, int]:
        return await self._log.head()

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        try:
            found = await self._log.news(epoch, revision, limit)
        except RevisionGoneError:
            raise LogGoneError from None
        encoded = [
            _event(each.job_id, found.jobs.get(each.job_id), each.revision)
            for each in found.changes
        ]
        return News(found.epoch, found.head, encoded)

    async def everything(self, scope: str) -> AsyncIterator[list[Event]]:
        behind = 0
        while found := await self._log.walk(behind, PAGE):
            yield [_event(job.id, job, 0) for job in found]
            behind = found[-1].id


def _event(job_id: int, job: Job | None, revision: int) -> Event:
    """What is gone by now is a delete, also where the entry was an update."""
    change = _Change(
        kind=_Change.KIND_DELETE if job is None else _Change.KIND_UPDATE,
        job_id=job_id,
        job=None if job is None else codec.summary(job),
        revision=revision,
    )
    return Event(revision, "", change.SerializeToString())
