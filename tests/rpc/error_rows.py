"""Every error that a service raises, with the status, the reason and the metadata it is told by."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
from gimle.asgard.core import access_errors, asset_errors, errors, experiment_errors, job_errors

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CODE = grpc.StatusCode

# (what is raised, the status, the reason, the metadata)
TABLE: list[tuple[Exception, grpc.StatusCode, str, dict[str, str]]] = [
    (
        errors.InvalidFieldError("name", "is empty", "say something"),
        CODE.INVALID_ARGUMENT,
        "INVALID_FIELD",
        {"field": "name", "mend": "say something"},
    ),
    (
        errors.InvalidNameError("run_id", "is no id", "use a UUID"),
        CODE.INVALID_ARGUMENT,
        "INVALID_FIELD",
        {"field": "run_id", "mend": "use a UUID"},
    ),
    (errors.PageTokenMismatchError("other"), CODE.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH", {}),
    (errors.NotFoundError("run", "r1"), CODE.NOT_FOUND, "RUN_NOT_FOUND", {"runId": "r1"}),
    (
        errors.NotFoundError("result", "x1"),
        CODE.NOT_FOUND,
        "RESULT_NOT_FOUND",
        {"resultId": "x1"},
    ),
    (
        errors.AlreadyExistsError("run", "r1"),
        CODE.ALREADY_EXISTS,
        "ALREADY_EXISTS",
        {"id": "r1"},
    ),
    (
        errors.DeletedError("r1", NOON),
        CODE.FAILED_PRECONDITION,
        "DELETED",
        {"id": "r1", "deletedAt": "2026-11-21T12:00:00Z"},
    ),
    (errors.EtagMismatchError("abc"), CODE.ABORTED, "ETAG_MISMATCH", {"etag": "abc"}),
    (errors.LengthMismatchError(7), CODE.ABORTED, "LENGTH_MISMATCH", {"length": "7"}),
    (
        errors.CannotAppendError("x1", "it is text"),
        CODE.FAILED_PRECONDITION,
        "CANNOT_APPEND",
        {"resultId": "x1", "problem": "it is text"},
    ),
    (
        errors.ResumeTokenUnusableError("old"),
        CODE.OUT_OF_RANGE,
        "RESUME_TOKEN_UNUSABLE",
        {},
    ),
    (errors.WatcherTooSlowError("slow"), CODE.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", {}),
    (errors.StoppingError("stopping"), CODE.UNAVAILABLE, "STOPPING", {}),
    (
        errors.StorageUnavailableError("/data", "mount it"),
        CODE.UNAVAILABLE,
        "STORAGE_UNAVAILABLE",
        {"place": "/data", "mend": "mount it"},
    ),
    (errors.StorageFullError("/data"), CODE.RESOURCE_EXHAUSTED, "STORAGE_FULL", {}),
    (
        errors.StorageFullError("/data", "large.bin", 2_000, 0),
        CODE.RESOURCE_EXHAUSTED,
        "STORAGE_FULL",
        {"what": "large.bin", "neededBytes": "2000", "freeBytes": "0"},
    ),
    (
        errors.StorageReadOnlyError("/data", "mount it to write"),
        CODE.FAILED_PRECONDITION,
        "STORAGE_READ_ONLY",
        {"place": "/data", "mend": "mount it to write"},
    ),
    (
        errors.RequestTooLargeError(64),
        CODE.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        {"limitBytes": "64"},
    ),
    (
        errors.DocumentError("r1", "it is no JSON"),
        CODE.DATA_LOSS,
        "DOCUMENT_UNREADABLE",
        {"id": "r1", "problem": "it is no JSON"},
    ),
    (errors.NotFoundError("blob", "b1"), CODE.NOT_FOUND, "BLOB_NOT_FOUND", {"blobId": "b1"}),
    (
        errors.BlobNotReadyError("b1", "uploading"),
        CODE.FAILED_PRECONDITION,
        "BLOB_NOT_READY",
        {"blobId": "b1", "state": "uploading"},
    ),
    (
        errors.UploadEndedError("b1", "ready"),
        CODE.FAILED_PRECONDITION,
        "UPLOAD_ENDED",
        {"blobId": "b1", "state": "ready"},
    ),
    (
        errors.UploadIncompleteError("b1", "part 2 is missing", (2,)),
        CODE.FAILED_PRECONDITION,
        "UPLOAD_INCOMPLETE",
        {"blobId": "b1", "problem": "part 2 is missing"},
    ),
    (
        errors.DigestMismatchError("b1", "other bytes"),
        CODE.DATA_LOSS,
        "DIGEST_MISMATCH",
        {"blobId": "b1", "problem": "other bytes"},
    ),
    (
        errors.BlobOwnedError("b1", "asset/a1"),
        CODE.FAILED_PRECONDITION,
        "BLOB_OWNED",
        {"blobId": "b1", "owner": "asset/a1"},
    ),
    (
        errors.BlobTooLargeError(64),
        CODE.RESOURCE_EXHAUSTED,
        "BLOB_TOO_LARGE",
        {"limitBytes": "64"},
    ),
    (
        errors.GrantsUnavailableError("start one"),
        CODE.FAILED_PRECONDITION,
        "GRANTS_UNAVAILABLE",
        {"mend": "start one"},
    ),
    (errors.UnknownMethodError("none"), CODE.UNIMPLEMENTED, "UNKNOWN_METHOD", {}),
    (TimeoutError("late"), CODE.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", {}),
    (job_errors.NotYoursError(7), CODE.PERMISSION_DENIED, "NOT_YOURS", {"jobId": "7"}),
    (job_errors.ServiceCallersOnlyError(), CODE.PERMISSION_DENIED, "SERVICE_CALLERS_ONLY", {}),
    (job_errors.DemoModeError(), CODE.PERMISSION_DENIED, "DEMO_MODE", {}),
    (
        job_errors.SeedTooLongError(60_000, 50_000),
        CODE.INVALID_ARGUMENT,
        "SEED_TOO_LONG",
        {"limit": "50000", "length": "60000"},
    ),
    (job_errors.DuplicateJobError(7), CODE.ALREADY_EXISTS, "DUPLICATE_JOB", {"jobId": "7"}),
    (
        job_errors.JobStateError(7, "failed", "only a draft can be changed"),
        CODE.FAILED_PRECONDITION,
        "JOB_STATE",
        {"jobId": "7", "status": "failed"},
    ),
    (
        job_errors.JobNotRetryableError(7, "failed", 8),
        CODE.FAILED_PRECONDITION,
        "JOB_NOT_RETRYABLE",
        {"jobId": "7", "status": "failed"},
    ),
    (
        job_errors.JobClaimedError(7, NOON),
        CODE.FAILED_PRECONDITION,
        "JOB_CLAIMED",
        {"jobId": "7", "expiresAt": "2026-11-21T12:00:00Z"},
    ),
    (
        experiment_errors.ExperimentStateError("e1", "open", "commit it first"),
        CODE.FAILED_PRECONDITION,
        "EXPERIMENT_STATE",
        {"experimentId": "e1", "state": "open", "mend": "commit it first"},
    ),
    (
        experiment_errors.ExperimentRetractedError("e1", "wrong data"),
        CODE.FAILED_PRECONDITION,
        "EXPERIMENT_RETRACTED",
        {"experimentId": "e1", "reason": "wrong data"},
    ),
    (
        experiment_errors.AlreadyConcludedError("e1", "a1"),
        CODE.FAILED_PRECONDITION,
        "ALREADY_CONCLUDED_BY",
        {"experimentId": "e1", "assetId": "a1"},
    ),
    (
        experiment_errors.VariationRunStateError("r1", "succeeded", "it has ended"),
        CODE.FAILED_PRECONDITION,
        "RUN_STATE",
        {"runId": "r1", "status": "succeeded"},
    ),
    (
        experiment_errors.RunLeaseLostError("r1"),
        CODE.FAILED_PRECONDITION,
        "LEASE_LOST",
        {"runId": "r1"},
    ),
    (
        experiment_errors.WandbPartialTripleError("wandb_entity"),
        CODE.INVALID_ARGUMENT,
        "WANDB_PARTIAL_TRIPLE",
        {"field": "wandb_entity"},
    ),
    (
        errors.NotFoundError("variation", "e1/0"),
        CODE.NOT_FOUND,
        "VARIATION_NOT_FOUND",
        {"variationId": "e1/0"},
    ),
    (job_errors.LeaseLostError(7), CODE.FAILED_PRECONDITION, "LEASE_LOST", {"jobId": "7"}),
    (
        job_errors.SimDataUploadFailedError(7, ("posts.json", "trades.json")),
        CODE.FAILED_PRECONDITION,
        "SIM_DATA_UPLOAD_FAILED",
        {"jobId": "7", "missing": "posts.json,trades.json"},
    ),
    (
        job_errors.SimDataNotAvailableError(7),
        CODE.NOT_FOUND,
        "SIM_DATA_NOT_AVAILABLE",
        {"jobId": "7"},
    ),
    (
        job_errors.ObjectStorageNotConfiguredError(),
        CODE.NOT_FOUND,
        "OBJECT_STORAGE_NOT_CONFIGURED",
        {},
    ),
    (job_errors.ReportNotAvailableError(7), CODE.NOT_FOUND, "REPORT_NOT_AVAILABLE", {"jobId": "7"}),
    (job_errors.ShareNotFoundError(), CODE.NOT_FOUND, "SHARE_NOT_FOUND", {}),
    (errors.NotFoundError("job", "7"), CODE.NOT_FOUND, "JOB_NOT_FOUND", {"jobId": "7"}),
    (access_errors.UnauthenticatedError(), CODE.UNAUTHENTICATED, "UNAUTHENTICATED", {}),
    (access_errors.TokenExpiredError(), CODE.UNAUTHENTICATED, "TOKEN_EXPIRED", {}),
    (access_errors.ForbiddenError("not yours"), CODE.PERMISSION_DENIED, "FORBIDDEN", {}),
    (
        access_errors.NotAMemberError("t/ml"),
        CODE.PERMISSION_DENIED,
        "NOT_A_MEMBER",
        {"scope": "t/ml"},
    ),
    (
        access_errors.LastAdministratorError("o/acme", "@alice"),
        CODE.FAILED_PRECONDITION,
        "LAST_ADMINISTRATOR",
        {"what": "o/acme", "principal": "@alice"},
    ),
    (
        access_errors.InUseError("o/acme", {"teams": 2}),
        CODE.FAILED_PRECONDITION,
        "IN_USE",
        {"what": "o/acme", "teams": "2"},
    ),
    *(
        (
            errors.NotFoundError(kind, "x1"),
            CODE.NOT_FOUND,
            f"{kind.upper()}_NOT_FOUND",
            {f"{kind}Id": "x1"},
        )
        for kind in ("user", "organization", "team", "key", "principal", "asset", "experiment")
    ),
    (
        asset_errors.AssetStateError("a1", "abandoned", "make a new one"),
        CODE.FAILED_PRECONDITION,
        "ASSET_STATE",
        {"assetId": "a1", "state": "abandoned", "mend": "make a new one"},
    ),
    (
        asset_errors.AssetIncompleteError("a1", ["x/y", "z"]),
        CODE.FAILED_PRECONDITION,
        "ASSET_INCOMPLETE",
        {"assetId": "a1", "missing": "x/y,z", "count": "2"},
    ),
    (
        asset_errors.NotAwaitingReviewError("a1"),
        CODE.FAILED_PRECONDITION,
        "NOT_AWAITING_REVIEW",
        {"assetId": "a1"},
    ),
    (
        asset_errors.AssetLinkedError("a1", {"experiment_input_assets": 2}),
        CODE.FAILED_PRECONDITION,
        "ASSET_LINKED",
        {"assetId": "a1", "experiment_input_assets": "2"},
    ),
    (
        asset_errors.AssetInvalidatedError("a1", "wrong data"),
        CODE.FAILED_PRECONDITION,
        "ASSET_INVALIDATED",
        {"assetId": "a1", "reason": "wrong data"},
    ),
    (
        asset_errors.AssetOrgMismatchError("e1", "org_1"),
        CODE.INVALID_ARGUMENT,
        "ASSET_ORG_MISMATCH",
        {"experimentId": "e1", "organizationId": "org_1"},
    ),
    (
        asset_errors.NoPreviewError("a1", "it is a picture of 5 MiB"),
        CODE.FAILED_PRECONDITION,
        "NO_PREVIEW",
        {"assetId": "a1", "why": "it is a picture of 5 MiB"},
    ),
    (
        asset_errors.ComponentNotFoundError("a1", "x/y"),
        CODE.NOT_FOUND,
        "COMPONENT_NOT_FOUND",
        {"assetId": "a1", "component": "x/y"},
    ),
    (
        asset_errors.ContentTooLargeError(64),
        CODE.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        {"limitBytes": "64"},
    ),
]
