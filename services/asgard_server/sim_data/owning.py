"""The files of jobs as fsck asks for them: what should lie under `sim-data/`."""

from __future__ import annotations

import re

from asgard_server.blob.holdings import Kept
from asgard_server.sim_data.domain import FILES, Job
from asgard_server.sim_data.store import Jobs, Log

_KEY = re.compile(r"sim-data/([1-9][0-9]{0,17})/([^/]+)")
# Lies there beside the files of a job, but no job knows its bytes: the row has the text.
_REPORT = "report.md"


class JobFiles:
    """The owner of `sim-data/`. A file is known by size and ETag once its job was completed.

    Until then, and for the report, it is known that it may be there, and nothing more.
    """

    def __init__(self, jobs: Jobs, log: Log) -> None:
        self._jobs = jobs
        self._log = log

    @property
    def folder(self) -> str:
        """Where all files of jobs lie."""
        return "sim-data/"

    async def keys(self, behind: str, limit: int) -> tuple[list[Kept], str]:
        """The files that arrived for some of the jobs, by the jobs' ids."""
        count = max(1, limit // len(FILES))
        jobs = await self._log.walk(int(behind or 0), count)
        page = [_kept(job, name) for job in jobs for name in _arrived(job)]
        return page, str(jobs[-1].id) if len(jobs) == count else ""

    async def kept(self, key: str) -> Kept | None:
        """What should lie under one key at this moment, None when nothing should."""
        if (match := _KEY.fullmatch(key)) is None:
            return None
        job = await self._jobs.find(int(match[1]))
        known = job is not None and match[2] in (*FILES, _REPORT)
        return _kept(job, match[2]) if job is not None and known else None


def _arrived(job: Job) -> list[str]:
    return [file.name for file in job.files]


def _kept(job: Job, name: str) -> Kept:
    file = next((file for file in job.files if file.name == name), None)
    key, owner = f"sim-data/{job.id}/{name}", f"job/{job.id}"
    return Kept(key, owner) if file is None else Kept(key, owner, file.size_bytes, file.etag)
