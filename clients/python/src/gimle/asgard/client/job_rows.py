"""What a service says of jobs, as exceptions: the rows of errors.py that are SimSwarm's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gimle.asgard.client import experiment_rows
from gimle.asgard.core import errors, job_errors
from gimle.asgard.core.documents import parse_time

_Fields = Callable[[Mapping[str, str]], dict[str, Any]]


def _job(info: Mapping[str, str]) -> dict[str, Any]:
    return {"job_id": int(info["jobId"])}


def _state(info: Mapping[str, str]) -> dict[str, Any]:
    return {**_job(info), "status": info["status"]}


def _none(info: Mapping[str, str]) -> dict[str, Any]:
    return {}


_KINDS: Mapping[str, tuple[type[errors.AsgardError], _Fields]] = {
    "NOT_YOURS": (job_errors.NotYoursError, _job),
    "SERVICE_CALLERS_ONLY": (job_errors.ServiceCallersOnlyError, _none),
    "DEMO_MODE": (job_errors.DemoModeError, _none),
    "SEED_TOO_LONG": (
        job_errors.SeedTooLongError,
        lambda info: {"length": int(info["length"]), "limit": int(info["limit"])},
    ),
    "DUPLICATE_JOB": (job_errors.DuplicateJobError, _job),
    "JOB_STATE": (job_errors.JobStateError, _state),
    "JOB_NOT_RETRYABLE": (job_errors.JobNotRetryableError, _state),
    "JOB_CLAIMED": (
        job_errors.JobClaimedError,
        lambda info: {**_job(info), "expires_at": parse_time(info["expiresAt"])},
    ),
    "SIM_DATA_UPLOAD_FAILED": (
        job_errors.SimDataUploadFailedError,
        lambda info: {**_job(info), "missing": tuple(filter(None, info["missing"].split(",")))},
    ),
    "SIM_DATA_NOT_AVAILABLE": (job_errors.SimDataNotAvailableError, _job),
    "OBJECT_STORAGE_NOT_CONFIGURED": (job_errors.ObjectStorageNotConfiguredError, _none),
    "REPORT_NOT_AVAILABLE": (job_errors.ReportNotAvailableError, _job),
    "SHARE_NOT_FOUND": (job_errors.ShareNotFoundError, _none),
}


def _row(
    kind: type[errors.AsgardError], fields: _Fields
) -> Callable[[str, Mapping[str, str], str], errors.AsgardError]:
    def raised(message: str, info: Mapping[str, str], place: str) -> errors.AsgardError:
        # Not by its constructor: the words are the service's.
        error = kind.__new__(kind)
        error.args = (message,)
        vars(error).update(fields(info))
        return error

    return raised


_lease_lost = _row(job_errors.LeaseLostError, _job)


def _any_lease_lost(message: str, info: Mapping[str, str], place: str) -> errors.AsgardError:
    """Leases are of jobs, and of runs of variations."""
    row = _lease_lost if "jobId" in info else experiment_rows.lease_lost
    return row(message, info, place)


ROWS = {
    "LEASE_LOST": _any_lease_lost,
    "JOB_NOT_FOUND": lambda message, info, place: errors.NotFoundError("job", info["jobId"]),
    **{reason: _row(*row) for reason, row in _KINDS.items()},
}
