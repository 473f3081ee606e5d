"""The ports of SimDataService: the table of jobs with its change log, and the store of files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from asgard_server.sim_data.domain import Arrived, Job


class Page(NamedTuple):
    """Some jobs of a list, and how many there are in all."""

    jobs: Sequence[Job]
    total: int


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the change log: this job changed, or went."""

    revision: int
    job_id: int


@dataclass(frozen=True, slots=True)
class News:
    """What follows a revision: entries in order, and the jobs they name as they are now.

    A job that is not among `jobs` is gone. `head` is the newest revision there is. `owners` are
    those of the jobs that are there, and of those that went not long ago.
    """

    epoch: str
    head: int
    changes: Sequence[Change]
    jobs: Mapping[int, Job]
    owners: Mapping[int, str]


class RevisionGoneError(Exception):
    """The log no longer reaches back to this revision."""


Changing = Callable[[Job], Job]


class Jobs(Protocol):
    """The rows of jobs. Each method is one transaction; a change and its log entry are in one.

    What changes a row is a function of the row as it is then, which may raise: then nothing is
    changed. A job whose `deleted_at` is set is found by `delete` only, and by Upkeep.
    """

    async def create(self, job: Job, since: datetime) -> Job:
        """Add a job; answer it with its id, which is never given again.

        Raises `DuplicateJobError` when its owner has a job that is going on, asks for the same,
        and was made at `since` or later.
        """

    async def add(self, job: Job) -> Job:
        """Add a draft; answer it with its id."""

    async def retry(self, job_id: int, make: Changing) -> Job:
        """Add the job that `make` makes of another, and note in that which supersedes it.

        Raises `NotFoundError`, and what `make` raises.
        """

    async def find(self, job_id: int) -> Job | None:
        """Look up a job."""

    async def find_shared(self, token: str) -> Job | None:
        """Look up the job with this share token."""

    async def change(self, job_id: int, change: Changing) -> Job:
        """Replace a row by what `change` makes of it; one that is equal is not written.

        Raises `NotFoundError`, and what `change` raises.
        """

    async def delete(self, job_id: int, change: Changing) -> Job:
        """Do as `change`, also for a job that is deleted and whose files could not be removed.

        Raises `NotFoundError` also for one whose files are removed.
        """

    async def page(
        self, owner: str, behind: tuple[datetime, int] | None, skip: int, limit: int
    ) -> Page:
        """The owner's jobs that are not superseded, newest first, in short form.

        Behind a place (creation time and id), then `skip` further on.
        """

    async def waiting(self, now: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs that can be claimed, the oldest first."""


class Upkeep(Protocol):
    """The table's other face: for the report task and the sweeper."""

    async def unreported(self, now: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs whose report is due, the oldest first."""

    async def left(self, before: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs in work whose lease ended before then, the longest ago first.

        Without those that another worker may still claim and upload: of a job that was claimed
        less often than `domain.MOST_CLAIMS`, its URLs have ended before then, too.
        """

    async def mark(self, job_id: int, change: Changing) -> Job:
        """Do as `change`, also for a job that is deleted."""

    async def deleted(self, now: datetime, before: datetime, limit: int) -> Sequence[Job]:
        """Deleted jobs with something left to do: files to remove, or a row that can go.

        Files that a URL may have brought are to be removed when that has ended by `now`; a row
        without any can go when the job was deleted `before` then.
        """

    async def forget(self, job_id: int) -> None:
        """Remove the row of a deleted job."""

    def lock(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""


class Log(Protocol):
    """The change log, as watchers read it."""

    async def head(self) -> tuple[str, int]:
        """The log's epoch, and its newest revision."""

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        """Entries that follow a revision. Raises `RevisionGoneError`."""

    async def walk(self, behind: int, limit: int, owner: str | None = None) -> Sequence[Job]:
        """Jobs in the order of their ids, those > `behind`, in short form; of one owner, or all."""

    async def trim(self, keep: int) -> None:
        """Forget all but the newest entries."""


class Artifacts(Protocol):
    """The files of jobs, in a store or in a folder.

    Signing asks nobody. The others raise `StorageUnavailableError`.
    """

    def upload_urls(self, job_id: int) -> Mapping[str, str]:
        """A URL to PUT each file with, good for 14 hours."""

    def download_urls(self, job_id: int) -> Mapping[str, str]:
        """A URL to GET each file with, good for an hour; whether it is there is not asked."""

    async def arrived(self, job_id: int) -> Sequence[Arrived]:
        """The files that lie there now."""

    async def remove(self, job_id: int) -> None:
        """Remove all files of a job, the report too. What is gone is no error."""

    async def check(self) -> None:
        """Ask whether the store is there."""


class Reports(Protocol):
    """What the report task reads and writes; called in a thread, so it may wait."""

    def fetch(self, job_id: int, name: str) -> bytes:
        """Read a file of a job. Raises `FileNotFoundError` when it is not there."""

    def put(self, job_id: int, markdown: str) -> None:
        """Write the job's report.md."""
