"""WatchJobs: the change log of jobs, watched."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from gimle.asgard.v1 import watch_jobs_pb2 as pb

from asgard_server.auth.principal import Principal
from asgard_server.feed.feed import Feed
from asgard_server.sim_data import codec
from asgard_server.sim_data.domain import Job
from asgard_server.sim_data.store import Log, RevisionGoneError
from asgard_server.watching.audience import Audience
from asgard_server.watching.frames import Event, Frames, Guard
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
        self._jobs = _Jobs(log)
        super().__init__(self._jobs, feed, TOPIC, _FRAMES, TOKENS, **limits)

    def tell(self, by: Principal, *, snapshot: bool, token: str) -> AsyncGenerator[bytes, None]:
        """Yield serialised messages of what the caller may see, its own, until it leaves.

        Raises what `follow` does; a token of another caller is unusable.
        """
        return self.follow(snapshot=snapshot, token=token, audience=self._jobs.audience(by))


def bell(log: Log, feed: Feed) -> Callable[[], Awaitable[None]]:
    """What rings when a job has changed."""

    async def told() -> None:
        _, revision = await log.head()
        await feed.ring(TOPIC, revision)

    return told


class _Jobs:
    """The table of jobs as a `Source`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def audience(self, by: Principal) -> Audience:
        """What is told to a caller: a job is its owner's alone."""
        owner = None if by.sees_everything else by.sub

        async def everything() -> AsyncIterator[list[Event]]:
            behind = 0
            while found := await self._log.walk(behind, PAGE, owner):
                yield [_there(job, told=by.is_service) for job in found]
                behind = found[-1].id

        # Those who see everything are the same to the tokens of before.
        keys = None if owner is None else frozenset((owner,))
        return Audience(owner or "", keys, by.is_service, everything)

    async def head(self) -> tuple[str, int]:
        return await self._log.head()

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        try:
            found = await self._log.news(epoch, revision, limit)
        except RevisionGoneError:
            raise LogGoneError from None
        events = [
            _event(each.revision, each.job_id, found.jobs.get(each.job_id), found.owners)
            for each in found.changes
        ]
        return News(found.epoch, found.head, events)

    async def everything(self, scope: str) -> AsyncIterator[list[Event]]:
        """Of nobody: each watcher has an audience, which says what everything is."""
        for nothing in list[list[Event]]():
            yield nothing


def _there(job: Job, *, told: bool) -> Event:
    """A job as it is now, in a snapshot."""
    change = _update(job, 0)
    if told:
        change.readers_after.append(job.owner)
    return Event(0, "", change.SerializeToString())


def _event(revision: int, job_id: int, job: Job | None, owners: Mapping[int, str]) -> Event:
    """A change, with whom it is for: the owner, nobody where none is known any more.

    What is gone by now is a delete, also where the entry was an update.
    """
    gone = _Change(kind=_Change.KIND_DELETE, job_id=job_id, revision=revision).SerializeToString()
    owner = owners.get(job_id)
    whose = frozenset[str]() if owner is None else frozenset((owner,))
    if job is None:
        readers = _Change(readers_before=whose).SerializeToString()
        return Event(revision, "", gone, Guard(frozenset(), frozenset(), whose, gone, readers))
    readers = _Change(readers_before=whose, readers_after=whose).SerializeToString()
    body = _update(job, revision).SerializeToString()
    return Event(revision, "", body, Guard(whose, whose, whose, gone, readers))


def _update(job: Job, revision: int) -> pb.WatchJobsResponse.Change:
    return _Change(
        kind=_Change.KIND_UPDATE, job_id=job.id, job=codec.summary(job), revision=revision
    )
