"""The one table from errors of the domain to gRPC statuses.

Every status but OK carries one `google.rpc.ErrorInfo` of the domain
`asgard.gimle.io` whose reason is listed in `error_reason.proto`; a refused field
also a `google.rpc.BadRequest`, and what waiting helps a `google.rpc.RetryInfo`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from gimle.asgard.core import access_errors, asset_errors, errors, experiment_errors, job_errors
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "asgard.gimle.io"

# How long a client waits before it tries again what waiting helps, in seconds.
RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """What an error becomes: its code, its reason and the metadata taken from it."""

    code: grpc.StatusCode
    reason: str | Callable[[Any], str]
    metadata: Callable[[Any], Mapping[str, str]] = lambda error: {}
    retry: bool = False


def _field(error: Any) -> dict[str, str]:
    return {"field": error.field, "mend": error.mend}


def _blob_state(error: Any) -> dict[str, str]:
    return {"blobId": error.id, "state": error.state}


def _blob_problem(error: Any) -> dict[str, str]:
    return {"blobId": error.id, "problem": error.problem}


def _full(error: Any) -> dict[str, str]:
    said = {"what": error.what, "neededBytes": error.needed_bytes, "freeBytes": error.free_bytes}
    return {key: str(value) for key, value in said.items() if value not in ("", None)}


def _job(error: Any) -> dict[str, str]:
    return {"jobId": str(error.job_id)}


def _job_state(error: Any) -> dict[str, str]:
    return {"jobId": str(error.job_id), "status": error.status}


def _asset(error: Any) -> dict[str, str]:
    return {"assetId": error.asset_id}


_Code = grpc.StatusCode

# Looked up along the class's own order of inheritance, so a subclass may have its own row.
RULES: Mapping[type[BaseException], Rule] = {
    errors.InvalidFieldError: Rule(_Code.INVALID_ARGUMENT, "INVALID_FIELD", _field),
    errors.InvalidNameError: Rule(_Code.INVALID_ARGUMENT, "INVALID_FIELD", _field),
    errors.PageTokenMismatchError: Rule(_Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH"),
    errors.NotFoundError: Rule(
        _Code.NOT_FOUND,
        lambda error: f"{error.kind.upper()}_NOT_FOUND",
        lambda error: {f"{error.kind}Id": error.id},
    ),
    errors.AlreadyExistsError: Rule(
        _Code.ALREADY_EXISTS, "ALREADY_EXISTS", lambda error: {"id": error.id}
    ),
    errors.DeletedError: Rule(
        _Code.FAILED_PRECONDITION,
        "DELETED",
        lambda error: {
            "id": error.id,
            "deletedAt": error.deleted_at.isoformat().replace("+00:00", "Z"),
        },
    ),
    errors.EtagMismatchError: Rule(
        _Code.ABORTED, "ETAG_MISMATCH", lambda error: {"etag": error.etag}
    ),
    errors.LengthMismatchError: Rule(
        _Code.ABORTED, "LENGTH_MISMATCH", lambda error: {"length": str(error.length)}
    ),
    errors.CannotAppendError: Rule(
        _Code.FAILED_PRECONDITION,
        "CANNOT_APPEND",
        lambda error: {"resultId": error.result_id, "problem": error.problem},
    ),
    errors.ResumeTokenUnusableError: Rule(_Code.OUT_OF_RANGE, "RESUME_TOKEN_UNUSABLE"),
    errors.WatcherTooSlowError: Rule(_Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", retry=True),
    errors.StoppingError: Rule(_Code.UNAVAILABLE, "STOPPING", retry=True),
    errors.StorageUnavailableError: Rule(
        _Code.UNAVAILABLE,
        "STORAGE_UNAVAILABLE",
        lambda error: {"place": str(error.place), "mend": error.mend},
        retry=True,
    ),
    errors.StorageFullError: Rule(_Code.RESOURCE_EXHAUSTED, "STORAGE_FULL", _full),
    errors.StorageReadOnlyError: Rule(
        _Code.FAILED_PRECONDITION,
        "STORAGE_READ_ONLY",
        lambda error: {"place": error.place, "mend": error.mend},
    ),
    errors.RequestTooLargeError: Rule(
        _Code.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        lambda error: {"limitBytes": str(error.limit_bytes)},
    ),
    errors.DocumentError: Rule(
        _Code.DATA_LOSS,
        "DOCUMENT_UNREADABLE",
        lambda error: {"id": error.id, "problem": error.problem},
    ),
    errors.BlobNotReadyError: Rule(_Code.FAILED_PRECONDITION, "BLOB_NOT_READY", _blob_state),
    errors.UploadEndedError: Rule(_Code.FAILED_PRECONDITION, "UPLOAD_ENDED", _blob_state),
    errors.UploadIncompleteError: Rule(
        _Code.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE", _blob_problem
    ),
    errors.DigestMismatchError: Rule(_Code.DATA_LOSS, "DIGEST_MISMATCH", _blob_problem),
    errors.BlobOwnedError: Rule(
        _Code.FAILED_PRECONDITION,
        "BLOB_OWNED",
        lambda error: {"blobId": error.id, "owner": error.owner},
    ),
    errors.BlobTooLargeError: Rule(
        _Code.RESOURCE_EXHAUSTED,
        "BLOB_TOO_LARGE",
        lambda error: {"limitBytes": str(error.limit_bytes)},
    ),
    errors.GrantsUnavailableError: Rule(
        _Code.FAILED_PRECONDITION, "GRANTS_UNAVAILABLE", lambda error: {"mend": error.mend}
    ),
    job_errors.NotYoursError: Rule(_Code.PERMISSION_DENIED, "NOT_YOURS", _job),
    job_errors.ServiceCallersOnlyError: Rule(_Code.PERMISSION_DENIED, "SERVICE_CALLERS_ONLY"),
    job_errors.DemoModeError: Rule(_Code.PERMISSION_DENIED, "DEMO_MODE"),
    job_errors.SeedTooLongError: Rule(
        _Code.INVALID_ARGUMENT,
        "SEED_TOO_LONG",
        lambda error: {"limit": str(error.limit), "length": str(error.length)},
    ),
    job_errors.DuplicateJobError: Rule(_Code.ALREADY_EXISTS, "DUPLICATE_JOB", _job),
    job_errors.JobStateError: Rule(_Code.FAILED_PRECONDITION, "JOB_STATE", _job_state),
    job_errors.JobNotRetryableError: Rule(
        _Code.FAILED_PRECONDITION, "JOB_NOT_RETRYABLE", _job_state
    ),
    job_errors.JobClaimedError: Rule(
        _Code.FAILED_PRECONDITION,
        "JOB_CLAIMED",
        lambda error: {
            "jobId": str(error.job_id),
            "expiresAt": error.expires_at.isoformat().replace("+00:00", "Z"),
        },
    ),
    experiment_errors.ExperimentStateError: Rule(
        _Code.FAILED_PRECONDITION,
        "EXPERIMENT_STATE",
        lambda error: {
            "experimentId": error.experiment_id,
            "state": error.state,
            "mend": error.mend,
        },
    ),
    experiment_errors.ExperimentRetractedError: Rule(
        _Code.FAILED_PRECONDITION,
        "EXPERIMENT_RETRACTED",
        lambda error: {"experimentId": error.experiment_id, "reason": error.reason},
    ),
    experiment_errors.AlreadyConcludedError: Rule(
        _Code.FAILED_PRECONDITION,
        "ALREADY_CONCLUDED_BY",
        lambda error: {"experimentId": error.experiment_id, "assetId": error.asset_id},
    ),
    experiment_errors.VariationRunStateError: Rule(
        _Code.FAILED_PRECONDITION,
        "RUN_STATE",
        lambda error: {"runId": error.run_id, "status": error.status},
    ),
    experiment_errors.RunLeaseLostError: Rule(
        _Code.FAILED_PRECONDITION, "LEASE_LOST", lambda error: {"runId": error.run_id}
    ),
    experiment_errors.WandbPartialTripleError: Rule(
        _Code.INVALID_ARGUMENT, "WANDB_PARTIAL_TRIPLE", lambda error: {"field": error.field}
    ),
    job_errors.LeaseLostError: Rule(_Code.FAILED_PRECONDITION, "LEASE_LOST", _job),
    job_errors.SimDataUploadFailedError: Rule(
        _Code.FAILED_PRECONDITION,
        "SIM_DATA_UPLOAD_FAILED",
        lambda error: {"jobId": str(error.job_id), "missing": ",".join(error.missing)},
    ),
    job_errors.SimDataNotAvailableError: Rule(_Code.NOT_FOUND, "SIM_DATA_NOT_AVAILABLE", _job),
    job_errors.ObjectStorageNotConfiguredError: Rule(
        _Code.NOT_FOUND, "OBJECT_STORAGE_NOT_CONFIGURED"
    ),
    job_errors.ReportNotAvailableError: Rule(_Code.NOT_FOUND, "REPORT_NOT_AVAILABLE", _job),
    job_errors.ShareNotFoundError: Rule(_Code.NOT_FOUND, "SHARE_NOT_FOUND"),
    access_errors.UnauthenticatedError: Rule(_Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
    access_errors.TokenExpiredError: Rule(_Code.UNAUTHENTICATED, "TOKEN_EXPIRED"),
    access_errors.ForbiddenError: Rule(_Code.PERMISSION_DENIED, "FORBIDDEN"),
    access_errors.NotAMemberError: Rule(
        _Code.PERMISSION_DENIED, "NOT_A_MEMBER", lambda error: {"scope": error.scope}
    ),
    access_errors.LastAdministratorError: Rule(
        _Code.FAILED_PRECONDITION,
        "LAST_ADMINISTRATOR",
        lambda error: {"what": error.what, "principal": error.principal},
    ),
    asset_errors.AssetStateError: Rule(
        _Code.FAILED_PRECONDITION,
        "ASSET_STATE",
        lambda error: {**_asset(error), "state": error.state, "mend": error.mend},
    ),
    asset_errors.AssetIncompleteError: Rule(
        _Code.FAILED_PRECONDITION,
        "ASSET_INCOMPLETE",
        lambda error: {
            **_asset(error),
            "missing": ",".join(error.missing),
            "count": str(error.count),
        },
    ),
    asset_errors.NotAwaitingReviewError: Rule(
        _Code.FAILED_PRECONDITION, "NOT_AWAITING_REVIEW", _asset
    ),
    asset_errors.AssetLinkedError: Rule(
        _Code.FAILED_PRECONDITION,
        "ASSET_LINKED",
        lambda error: {**_asset(error), **{kind: str(n) for kind, n in error.links.items()}},
    ),
    asset_errors.AssetInvalidatedError: Rule(
        _Code.FAILED_PRECONDITION,
        "ASSET_INVALIDATED",
        lambda error: {**_asset(error), "reason": error.reason},
    ),
    asset_errors.AssetOrgMismatchError: Rule(
        _Code.INVALID_ARGUMENT,
        "ASSET_ORG_MISMATCH",
        lambda error: {
            "experimentId": error.experiment_id,
            "organizationId": error.organization_id,
        },
    ),
    asset_errors.NoPreviewError: Rule(
        _Code.FAILED_PRECONDITION,
        "NO_PREVIEW",
        lambda error: {**_asset(error), "why": error.why},
    ),
    asset_errors.ComponentNotFoundError: Rule(
        _Code.NOT_FOUND,
        "COMPONENT_NOT_FOUND",
        lambda error: {**_asset(error), "component": error.component},
    ),
    asset_errors.ContentTooLargeError: Rule(
        _Code.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        lambda error: {"limitBytes": str(error.limit_bytes)},
    ),
    access_errors.InUseError: Rule(
        _Code.FAILED_PRECONDITION,
        "IN_USE",
        lambda error: {"what": error.what, **{k: str(v) for k, v in error.counts.items()}},
    ),
    errors.UnknownMethodError: Rule(_Code.UNIMPLEMENTED, "UNKNOWN_METHOD"),
    TimeoutError: Rule(_Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
}

INTERNAL = Rule(_Code.INTERNAL, "INTERNAL")


def rule_for(error: BaseException) -> Rule:
    """The row of the table that fits `error`; `INTERNAL` for a defect."""
    for kind in type(error).__mro__:
        rule = RULES.get(kind)
        if rule is not None:
            return rule
    return INTERNAL


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the caller will see it."""

    code: grpc.StatusCode
    reason: str
    status: grpc.Status


def failure(error: BaseException, request_id: str) -> Failure:
    """Translate `error`. A defect says nothing of itself but the request id the log has too."""
    rule = rule_for(error)
    reason = rule.reason if isinstance(rule.reason, str) else rule.reason(error)
    if rule is INTERNAL:
        message = f"internal error; the service's log has more under request {request_id}"
        metadata: Mapping[str, str] = {"requestId": request_id}
    else:
        message = str(error) or reason.lower().replace("_", " ")
        metadata = rule.metadata(error)
    details = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(metadata))]
    extra: list[Any] = []
    if reason == "INVALID_FIELD":
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=metadata["field"], description=message
        )
        extra.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if rule.retry:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = RETRY_SECONDS
        extra.append(retry)
    status = status_pb2.Status(
        code=rule.code.value[0],
        message=message,
        details=[_packed(detail) for detail in (*details, *extra)],
    )
    return Failure(rule.code, reason, rpc_status.to_status(status))


def _packed(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
