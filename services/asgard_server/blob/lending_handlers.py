# ruff: noqa: D102 - what each RPC does is said once, in grant_service.proto
"""GrantService: each RPC is a straight line from request to the lender, with its messages.

For services alone: else ServiceCallersOnlyError is raised.
"""

from __future__ import annotations

from typing import Any

import grpc
from gimle.asgard.core.errors import UploadIncompleteError
from gimle.asgard.v1 import blob_service_pb2 as blob_pb
from gimle.asgard.v1 import grant_service_pb2 as pb
from gimle.asgard.v1 import grant_service_pb2_grpc as pb_grpc

from asgard_server.auth.callers import caller
from asgard_server.blob import codec
from asgard_server.blob.domain import Held
from asgard_server.blob.kept import Kept, kept
from asgard_server.blob.lending import Lender, Lent, Outcome
from asgard_server.blob.parts import part_count, part_size
from asgard_server.blob.whose import whose
from asgard_server.rpc.errors import failure

Context = grpc.aio.ServicerContext[Any, Any]


class GrantHandlers(pb_grpc.GrantServiceServicer):
    """The RPCs of GrantService."""

    def __init__(self, lender: Lender) -> None:
        self._lends = lender

    @property
    def _lender(self) -> Lender:
        # Keys of arrays follow from their names: who asks must have looked whose those are.
        whose(caller()).require_service()
        return self._lends

    async def GrantUploads(
        self, request: pb.GrantUploadsRequest, context: Context
    ) -> pb.GrantUploadsResponse:
        asked = [_kept(each, f"objects[{at}].") for at, each in enumerate(request.objects)]
        lent = await self._lender.uploads(asked, codec.seconds(request))
        return pb.GrantUploadsResponse(uploads=map(_upload, lent))

    async def GrantParts(
        self, request: pb.GrantPartsRequest, context: Context
    ) -> pb.GrantPartsResponse:
        parts = [(part.number, part.sha256) for part in request.parts]
        kept = _kept(request.object, "object.")
        grants = await self._lender.parts(kept, parts, codec.seconds(request))
        return pb.GrantPartsResponse(grants=map(codec.grant_message, grants))

    async def SettleUploads(
        self, request: pb.SettleUploadsRequest, context: Context
    ) -> pb.SettleUploadsResponse:
        asked = [_kept(each, f"objects[{at}].") for at, each in enumerate(request.objects)]
        return pb.SettleUploadsResponse(outcomes=map(_outcome, await self._lender.settle(asked)))

    async def RemoveObjects(
        self, request: pb.RemoveObjectsRequest, context: Context
    ) -> pb.RemoveObjectsResponse:
        await self._lender.remove(request.keys)
        return pb.RemoveObjectsResponse()

    async def GrantDownloads(
        self, request: pb.GrantDownloadsRequest, context: Context
    ) -> pb.GrantDownloadsResponse:
        lent = await self._lender.downloads(request.keys, codec.seconds(request))
        return pb.GrantDownloadsResponse(
            downloads=[
                pb.GrantDownloadsResponse.Download()
                if each is None
                else pb.GrantDownloadsResponse.Download(
                    grant=codec.grant_message(each[0]), held=_held(each[1])
                )
                for each in lent
            ]
        )


def _kept(message: pb.KeptObject, at: str) -> Kept:
    return kept(message.key, message.size_bytes, message.sha256 or None, at)


def _upload(lent: Lent) -> pb.GrantUploadsResponse.Upload:
    if lent.held is not None:
        return pb.GrantUploadsResponse.Upload(held=_held(lent.held))
    if lent.put is not None:
        return pb.GrantUploadsResponse.Upload(put=codec.grant_message(lent.put))
    size = lent.kept.size_bytes
    plan = blob_pb.PartsPlan(part_size_bytes=part_size(size), part_count=part_count(size))
    return pb.GrantUploadsResponse.Upload(parts=plan, arrived=map(codec.part_message, lent.arrived))


def _held(held: Held) -> pb.HeldObject:
    return pb.HeldObject(
        size_bytes=held.size_bytes,
        etag=held.etag,
        sha256=held.sha256 or "",
        sha256_parts=held.sha256_parts or "",
        part_size_bytes=part_size(held.size_bytes) if held.sha256_parts else 0,
    )


def _outcome(outcome: Outcome) -> pb.SettleUploadsResponse.Outcome:
    if isinstance(outcome, Held):
        return pb.SettleUploadsResponse.Outcome(held=_held(outcome))
    missing = outcome.missing_parts if isinstance(outcome, UploadIncompleteError) else ()
    problem = blob_pb.UploadProblem(
        reason=failure(outcome, "").reason, message=outcome.problem, missing_parts=missing
    )
    return pb.SettleUploadsResponse.Outcome(problem=problem)
