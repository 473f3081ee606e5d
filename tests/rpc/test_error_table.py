from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from asgard_server.rpc.calls import CallInterceptor
from asgard_server.rpc.errors import DOMAIN, INTERNAL, RULES
from gimle.asgard.core import access_errors, asset_errors, errors, experiment_errors, job_errors
from gimle.asgard.v1 import error_reason_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

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

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Raising:
    """A service of four methods, one of each kind, that raise what they are told."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def answer(self, request: Any, context: Any) -> bytes:
        await self._read(request)
        if self.error is not None:
            raise self.error
        return b"fine"

    async def answers(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        await self._read(request)
        yield b"first"
        if self.error is not None:
            raise self.error

    async def _read(self, request: Any) -> None:
        """To its end: a client of grpc.aio that is still sending takes the refusal for INTERNAL."""
        _ = request if isinstance(request, bytes) else [each async for each in request]

    def handlers(self) -> dict[str, Any]:
        return {
            "unary_unary": grpc.unary_unary_rpc_method_handler(self.answer),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self.answers),
            "stream_unary": grpc.stream_unary_rpc_method_handler(self.answer),
            "stream_stream": grpc.stream_stream_rpc_method_handler(self.answers),
        }


@asynccontextmanager
async def served(error: Exception | None, limit: int = 1_000) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(
        interceptors=[CallInterceptor(limit_bytes=limit)], options=[("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Raising", Raising(error).handlers()),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(None)


async def call(channel: grpc.aio.Channel, kind: str, body: bytes = b"?") -> list[bytes]:
    async def requests() -> AsyncIterator[bytes]:
        yield body

    method: Any = getattr(channel, kind)(f"/test.Raising/{kind}")
    started = method(requests() if kind.startswith("stream") else body)
    if kind.endswith("unary"):
        return [await started]
    return [answer async for answer in started]


async def refused(channel: grpc.aio.Channel, kind: str, body: bytes = b"?") -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, kind, body)
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # AioRpcError has what it reads
    assert status is not None, f"{caught.value.code()} came without details"
    assert status.code == caught.value.code().value[0]
    return status


def info_of(status: Any) -> error_details_pb2.ErrorInfo:
    infos = [
        detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
    ]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == DOMAIN
    return info


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{type(row[0]).__name__}-{row[2]}")
async def test_each_error_reaches_the_caller_with_its_reason(
    kind: str, row: tuple[Exception, grpc.StatusCode, str, dict[str, str]]
) -> None:
    error, code, reason, metadata = row
    async with served(error) as channel:
        status = await refused(channel, kind)
    assert status.code == code.value[0]
    info = info_of(status)
    assert info.reason == reason
    assert dict(info.metadata) == metadata
    assert status.message == str(error)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_goes_well_is_left_as_it_is(kind: str) -> None:
    async with served(None) as channel:
        assert await call(channel, kind) == ([b"fine"] if kind.endswith("unary") else [b"first"])


def test_every_reason_of_the_proto_but_internal_has_its_row() -> None:
    names = {
        name.removeprefix("ERROR_REASON_") for name in dict(error_reason_pb2.ErrorReason.items())
    }
    assert {reason for _, _, reason, _ in TABLE} == names - {"UNSPECIFIED", INTERNAL.reason}
    assert {type(error) for error, *_ in TABLE} == set(RULES)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_defect_says_nothing_of_itself_but_the_request_id(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(KeyError("the password is swordfish")) as channel:
        status = await refused(channel, kind)
    assert status.code == CODE.INTERNAL.value[0]
    info = info_of(status)
    assert info.reason == "INTERNAL"
    assert "swordfish" not in status.message
    said = capsys.readouterr()
    assert info.metadata["requestId"] in status.message
    assert info.metadata["requestId"] in said.out + said.err
    assert "swordfish" in said.out + said.err


async def test_a_refused_field_is_named_as_bad_request_too() -> None:
    async with served(errors.InvalidFieldError("tags[3]", "is empty", "say something")) as channel:
        status = await refused(channel, "unary_unary")
    request = error_details_pb2.BadRequest()
    assert [detail.Unpack(request) for detail in status.details].count(True) == 1
    assert [violation.field for violation in request.field_violations] == ["tags[3]"]
    assert re.search("is empty.*say something", request.field_violations[0].description)


@pytest.mark.parametrize(
    ("error", "helps"),
    [(errors.StoppingError("stopping"), True), (errors.StorageFullError("/data"), False)],
)
async def test_what_waiting_helps_says_how_long(error: Exception, helps: bool) -> None:
    async with served(error) as channel:
        status = await refused(channel, "unary_unary")
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details) is helps
    assert (retry.retry_delay.seconds >= 1) is helps


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_request_over_the_limit_is_refused_and_one_at_it_is_not(kind: str) -> None:
    async with served(None, limit=10) as channel:
        await call(channel, kind, b"x" * 10)
        info = info_of(await refused(channel, kind, b"x" * 11))
    assert (info.reason, info.metadata["limitBytes"]) == ("REQUEST_TOO_LARGE", "10")


async def test_an_unknown_method_is_refused_with_its_reason() -> None:
    async with served(None) as channel:
        nothing: Any = channel.unary_unary("/test.Raising/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await nothing(b"")
        status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # AioRpcError has what it reads
    assert caught.value.code() is CODE.UNIMPLEMENTED
    assert info_of(status).reason == "UNKNOWN_METHOD"


async def test_the_log_carries_the_request_id_the_caller_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with served(errors.NotFoundError("run", "r1")) as channel:
        method: Any = channel.unary_unary("/test.Raising/unary_unary")
        with pytest.raises(grpc.aio.AioRpcError):
            await method(b"", metadata=(("x-request-id", "from-the-caller"),))
    said = capsys.readouterr()
    line = next(each for each in (said.out + said.err).splitlines() if "from-the-caller" in each)
    for part in ("/test.Raising/unary_unary", "NOT_FOUND", "RUN_NOT_FOUND", "seconds"):
        assert part in line
