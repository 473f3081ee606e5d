"""Grants asked of BlobService by gRPC, from this process or another: the port `Grants`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import grpc
from gimle.asgard.core.errors import (
    AsgardError,
    DigestMismatchError,
    GrantsUnavailableError,
    StorageFullError,
    StorageUnavailableError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.v1 import blob_service_pb2 as blob_pb
from gimle.asgard.v1 import grant_service_pb2 as pb
from gimle.asgard.v1 import grant_service_pb2_grpc as pb_grpc

from asgard_server.run.grants import Grant, Held, Part, Upload, Wanted
from asgard_server.store.rpc_refusals import info_of

_SECONDS = 20.0
# Parts are put together by the store, which reads them all, or by a folder, which copies them.
_SLOWEST_BYTES_A_SECOND = 1 << 24
_SETTLE_SECONDS = 60.0
_MOST = 1_000

_MEND = "start `asgard serve blob` on the same storage and say where it is with ASGARD_BLOB_ADDRESS"


class RpcGrants:
    """GrantService over `channel`, which leads to where `name` says."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        # The generated stubs are typed for either kind of channel.
        self._stub: Any = pb_grpc.GrantServiceStub(channel)
        self._name = name

    async def uploads(self, wanted: Sequence[Wanted], seconds: int) -> list[Upload]:
        """Grant uploads for so long; what goes on in parts goes on."""
        request = pb.GrantUploadsRequest(objects=map(_object, wanted))
        request.grant_duration.seconds = seconds
        answer = await self._call("GrantUploads", request)
        return [_upload(each) for each in answer.uploads]

    async def parts(
        self, wanted: Wanted, parts: Sequence[tuple[int, str]], seconds: int
    ) -> list[Grant]:
        """Grant parts, numbers with SHA-256. Raises `UploadEndedError`, `InvalidFieldError`."""
        request = pb.GrantPartsRequest(object=_object(wanted))
        request.grant_duration.seconds = seconds
        for number, sha256 in parts:
            request.parts.add(number=number, sha256=sha256)
        try:
            answer = await self._call("GrantParts", request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise UploadEndedError(wanted.path, "there or given up") from error
            raise
        return [_grant(each) for each in answer.grants]

    async def settle(self, wanted: Sequence[Wanted]) -> list[Held | AsgardError]:
        """Put together what came in parts; answer what is there, or why it is not right."""
        if not wanted:
            return []
        size = sum(each.size_bytes for each in wanted)
        answer = await self._call(
            "SettleUploads",
            pb.SettleUploadsRequest(objects=map(_object, wanted)),
            _SETTLE_SECONDS + size / _SLOWEST_BYTES_A_SECOND,
        )
        return [
            _held(outcome.held) if outcome.HasField("held") else _problem(each, outcome.problem)
            for each, outcome in zip(wanted, answer.outcomes, strict=True)
        ]

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and what has come of them."""
        for start in range(0, len(paths), _MOST):
            request = pb.RemoveObjectsRequest(keys=paths[start : start + _MOST])
            await self._call("RemoveObjects", request, _SETTLE_SECONDS)

    async def downloads(
        self, paths: Sequence[str], seconds: int
    ) -> list[tuple[Grant, Held] | None]:
        """Grant downloads; None for what is not there."""
        found: list[tuple[Grant, Held] | None] = []
        for start in range(0, len(paths), _MOST):
            request = pb.GrantDownloadsRequest(keys=paths[start : start + _MOST])
            request.grant_duration.seconds = seconds
            answer = await self._call("GrantDownloads", request)
            found += [
                (_grant(each.grant), _held(each.held)) if each.HasField("grant") else None
                for each in answer.downloads
            ]
        return found

    async def _call(self, method: str, request: Any, seconds: float = _SECONDS) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise GrantsUnavailableError(_MEND) from error
            if error.code() is grpc.StatusCode.UNAVAILABLE and not _answered(error):
                raise GrantsUnavailableError(f"{self._name} does not answer: {_MEND}") from error
            if (info := info_of(error)).reason == "STORAGE_FULL":
                raise StorageFullError.told(self._name, info.metadata) from error
            if error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            ):
                mend = f"BlobService at {self._name} says: {error.details()}"
                raise StorageUnavailableError(self._name, mend) from error
            raise


class NoGrants:
    """Nobody who grants: this process serves RunService alone, over a folder."""

    async def uploads(self, wanted: Sequence[Wanted], seconds: int) -> list[Upload]:
        """Raise GrantsUnavailableError."""
        raise GrantsUnavailableError(_MEND_FOLDER)

    async def parts(
        self, wanted: Wanted, parts: Sequence[tuple[int, str]], seconds: int
    ) -> list[Grant]:
        """Raise GrantsUnavailableError."""
        raise GrantsUnavailableError(_MEND_FOLDER)

    async def settle(self, wanted: Sequence[Wanted]) -> list[Held | AsgardError]:
        """Raise GrantsUnavailableError."""
        raise GrantsUnavailableError(_MEND_FOLDER)

    async def remove(self, paths: Sequence[str]) -> None:
        """Raise GrantsUnavailableError."""
        raise GrantsUnavailableError(_MEND_FOLDER)

    async def downloads(
        self, paths: Sequence[str], seconds: int
    ) -> list[tuple[Grant, Held] | None]:
        """Raise GrantsUnavailableError."""
        raise GrantsUnavailableError(_MEND_FOLDER)


_MEND_FOLDER = "serve the folder by `asgard serve all`, whose page takes the bytes"


def _answered(error: grpc.aio.AioRpcError) -> bool:
    """Whether it was the service that said so, not the way there."""
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def _object(wanted: Wanted) -> pb.KeptObject:
    return pb.KeptObject(key=wanted.path, size_bytes=wanted.size_bytes, sha256=wanted.sha256 or "")


def _upload(message: pb.GrantUploadsResponse.Upload) -> Upload:
    if message.HasField("held"):
        return Upload(held=_held(message.held))
    if message.HasField("put"):
        return Upload(put=_grant(message.put))
    arrived = tuple(Part(part.number, part.size_bytes, part.sha256) for part in message.arrived)
    plan = message.parts
    return Upload(part_bytes=plan.part_size_bytes, part_count=plan.part_count, arrived=arrived)


def _grant(message: blob_pb.Grant) -> Grant:
    return Grant(
        message.url, message.method, dict(message.headers), message.expire_time.ToDatetime(UTC)
    )


def _held(message: pb.HeldObject) -> Held:
    return Held(
        message.size_bytes,
        message.etag,
        message.sha256 or None,
        message.sha256_parts or None,
        message.part_size_bytes,
    )


def _problem(wanted: Wanted, problem: blob_pb.UploadProblem) -> AsgardError:
    if problem.reason == "UPLOAD_INCOMPLETE":
        return UploadIncompleteError(wanted.path, problem.message, tuple(problem.missing_parts))
    return DigestMismatchError(wanted.path, problem.message)
