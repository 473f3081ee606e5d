"""What is raised of SimSwarm's jobs. All are `ServiceError`s: only a service has jobs.

The words of the errors that SimSwarm documents are its own, letter by letter.
"""

from __future__ import annotations

from datetime import datetime

from gimle.asgard.core.errors import ServiceError


class JobError(ServiceError):
    """What is wrong with the job `job_id`."""

    def __init__(self, job_id: int, message: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class NotYoursError(JobError):
    """The job is somebody else's."""

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, f"the job {job_id} is somebody else's")


class ServiceCallersOnlyError(ServiceError):
    """Only a workflow or a worker may do this."""

    def __init__(self) -> None:
        super().__init__("only a service caller may claim jobs")


class DemoModeError(ServiceError):
    """This server makes no jobs."""

    def __init__(self) -> None:
        super().__init__("this server is a demonstration: no jobs are made here")


class SeedTooLongError(ServiceError):
    """The seed text has `length` characters, more than `limit`."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"seed_text has {length:,} characters; give at most {limit:,}")
        self.length = length
        self.limit = limit


class DuplicateJobError(JobError):
    """The same job was asked for a moment ago; `job_id` is that one."""

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, f"the same job was just asked for: it is job {job_id}")


class JobStateError(JobError):
    """The job is `status`, which does not allow what was asked for."""

    def __init__(self, job_id: int, status: str, wanted: str) -> None:
        super().__init__(job_id, f"the job {job_id} is {status}; {wanted}")
        self.status = status


class JobNotRetryableError(JobError):
    """The job is `status`, or has been retried."""

    def __init__(self, job_id: int, status: str, superseded_by: int | None = None) -> None:
        why = f"it is {status}" if superseded_by is None else f"job {superseded_by} is its retry"
        super().__init__(job_id, f"only a failed job can be retried, once: of job {job_id}, {why}")
        self.status = status


class JobClaimedError(JobError):
    """Another worker holds the job until `expires_at`, unless it renews its lease."""

    def __init__(self, job_id: int, expires_at: datetime) -> None:
        until = expires_at.isoformat()
        super().__init__(job_id, f"the job {job_id} is held by another worker, until {until}")
        self.expires_at = expires_at


class LeaseLostError(JobError):
    """The lease of the job is not the caller's."""

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, f"the lease of job {job_id} is not yours, or no more: claim it")


class SimDataUploadFailedError(JobError):
    """Of the job's files those in `missing` have not arrived as they were produced."""

    def __init__(self, job_id: int, missing: tuple[str, ...]) -> None:
        named = ", ".join(missing)
        what = f"missing from the store, or of another size: {named}" if named else "it has no file"
        super().__init__(job_id, f"sim_data_upload_failed: {what}")
        self.missing = missing


class SimDataNotAvailableError(JobError):
    """The job has no files that could be had, or it is not there, or is somebody else's."""

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, "Simulation data not available")


class ObjectStorageNotConfiguredError(ServiceError):
    """The server has no object store for the files of jobs."""

    def __init__(self) -> None:
        super().__init__("Object storage not configured")


class ReportNotAvailableError(JobError):
    """The report of the job is not written."""

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, "Report not available")


class ShareNotFoundError(ServiceError):
    """No job is shared by this token."""

    def __init__(self) -> None:
        super().__init__("nothing is shared by this link, or no more")
