# ruff: noqa: D102 - what each RPC does is said once, in blob_service.proto
"""BlobService: each RPC is a straight line from request to who works for its caller.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

import unicodedata
from typing import Any

import grpc
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

from asgard_server.auth.callers import caller
from asgard_server.blob import codec
from asgard_server.blob.completing import Completer
from asgard_server.blob.domain import NewUpload
from asgard_server.blob.keeping import Keeper
from asgard_server.blob.uploading import Uploader
from asgard_server.blob.whose import whose
from asgard_server.rpc import pages
from asgard_server.rpc.ending import to_the_end
from asgard_server.rpc.fields import optional

Context = grpc.aio.ServicerContext[Any, Any]


class BlobHandlers(pb_grpc.BlobServiceServicer):
    """The RPCs of BlobService."""

    def __init__(self, uploader: Uploader, completer: Completer, keeper: Keeper) -> None:
        self._uploads = uploader
        self._completions = completer
        self._blobs = keeper

    @property
    def _uploader(self) -> Uploader:
        return self._uploads.of(whose(caller()))

    @property
    def _completer(self) -> Completer:
        return self._completions.of(whose(caller()))

    @property
    def _keeper(self) -> Keeper:
        return self._blobs.of(whose(caller()))

    # Uploads --------------------------------------------------------------------------

    async def CreateUploads(
        self, request: pb.CreateUploadsRequest, context: Context
    ) -> pb.CreateUploadsResponse:
        begun = await self._uploader.begin([codec.new_upload(each) for each in request.uploads])
        return pb.CreateUploadsResponse(uploads=map(codec.upload_fields, begun))

    async def RenewUploads(
        self, request: pb.RenewUploadsRequest, context: Context
    ) -> pb.RenewUploadsResponse:
        begun = await self._uploader.renew(
            request.blob_ids, codec.seconds(request), request.lent_to
        )
        return pb.RenewUploadsResponse(uploads=map(codec.upload_fields, begun))

    async def SignParts(
        self, request: pb.SignPartsRequest, context: Context
    ) -> pb.SignPartsResponse:
        parts = [(part.number, part.sha256) for part in request.parts]
        grants = await self._uploader.sign_parts(request.blob_id, parts, codec.seconds(request))
        return pb.SignPartsResponse(grants=map(codec.grant_message, grants))

    async def ListParts(
        self, request: pb.ListPartsRequest, context: Context
    ) -> pb.ListPartsResponse:
        size, listing = pages.size(request.page_size), f"parts/{request.blob_id}"
        behind = pages.number(request.page_token, listing)
        blob, arrived = await self._uploader.parts(request.blob_id)
        left = [part for part in arrived if part.number > behind]
        return pb.ListPartsResponse(
            parts=map(codec.part_message, left[:size]),
            plan=codec.plan(blob),
            next_page_token=(
                pages.token(listing, str(left[size - 1].number)) if len(left) > size else ""
            ),
        )

    async def CompleteUploads(
        self, request: pb.CompleteUploadsRequest, context: Context
    ) -> pb.CompleteUploadsResponse:
        asked = [(item.blob_id, optional(item, "sha256")) for item in request.uploads]
        # To its end, also when the caller is gone: what the store has put together has no parts
        # that could be sent again, and the digest of all bytes is in this request alone.
        done = await to_the_end(self._completer.complete(asked, dry_run=request.dry_run))
        outcomes = [
            codec.outcome_fields(name, each) for (name, _), each in zip(asked, done, strict=True)
        ]
        return pb.CompleteUploadsResponse(outcomes=outcomes)

    async def AbortUploads(
        self, request: pb.AbortUploadsRequest, context: Context
    ) -> pb.AbortUploadsResponse:
        await self._uploader.abort(request.blob_ids)
        return pb.AbortUploadsResponse()

    # Blobs ----------------------------------------------------------------------------

    async def CreateDownloads(
        self, request: pb.CreateDownloadsRequest, context: Context
    ) -> pb.CreateDownloadsResponse:
        wanted = [codec.wanted(item) for item in request.downloads]
        lent = await self._keeper.lend(wanted, codec.seconds(request))
        return pb.CreateDownloadsResponse(
            downloads=[
                pb.CreateDownloadsResponse.Download(
                    blob=codec.blob_message(blob), grant=codec.grant_message(grant)
                )
                for blob, grant in lent
            ]
        )

    async def GetBlob(self, request: pb.GetBlobRequest, context: Context) -> pb.GetBlobResponse:
        blob = await self._keeper.blob(request.blob_id)
        return pb.GetBlobResponse(blob=codec.blob_message(blob))

    async def ListBlobs(
        self, request: pb.ListBlobsRequest, context: Context
    ) -> pb.ListBlobsResponse:
        size = pages.size(request.page_size)
        prefix = unicodedata.normalize("NFC", request.name_prefix)
        behind = pages.behind(request.page_token, f"blobs/{prefix}")
        found = await self._keeper.page(prefix, behind, size + 1)
        more = pages.token(f"blobs/{prefix}", found[size - 1].name) if len(found) > size else ""
        return pb.ListBlobsResponse(
            blobs=map(codec.blob_message, found[:size]), next_page_token=more
        )

    async def DeleteBlob(
        self, request: pb.DeleteBlobRequest, context: Context
    ) -> pb.DeleteBlobResponse:
        await self._keeper.delete(request.blob_id)
        return pb.DeleteBlobResponse()

    async def DeleteBlobs(
        self, request: pb.DeleteBlobsRequest, context: Context
    ) -> pb.DeleteBlobsResponse:
        deleted = await self._keeper.delete_all(request.name_prefix)
        return pb.DeleteBlobsResponse(
            deleted_count=deleted.count,
            deleted_bytes=deleted.size_bytes,
            owned_count=deleted.owned,
        )

    async def CopyBlob(self, request: pb.CopyBlobRequest, context: Context) -> pb.CopyBlobResponse:
        # Whoever asks again when it is made is answered with it.
        blob = await to_the_end(self._keeper.copy(request.blob_id, request.name))
        return pb.CopyBlobResponse(blob=codec.blob_message(blob))

    async def ClaimBlobs(
        self, request: pb.ClaimBlobsRequest, context: Context
    ) -> pb.ClaimBlobsResponse:
        await self._keeper.claim(request.blob_ids, request.owner)
        return pb.ClaimBlobsResponse()

    async def ReleaseBlobs(
        self, request: pb.ReleaseBlobsRequest, context: Context
    ) -> pb.ReleaseBlobsResponse:
        count = await self._keeper.release(request.blob_ids, request.owner)
        return pb.ReleaseBlobsResponse(deleted_count=count)

    async def ReadBlob(self, request: pb.ReadBlobRequest, context: Context) -> pb.ReadBlobResponse:
        blob, body = await self._keeper.read(request.blob_id)
        return pb.ReadBlobResponse(blob=codec.blob_message(blob), body=body)

    async def WriteBlob(
        self, request: pb.WriteBlobRequest, context: Context
    ) -> pb.WriteBlobResponse:
        new = NewUpload(id=request.blob_id, name=request.name, content_type=request.content_type)
        blob = await self._keeper.write(new, codec.body(request))
        return pb.WriteBlobResponse(blob=codec.blob_message(blob))
