"""The bytes of assets, kept by BlobService and asked for by gRPC: the port `Blobs` of AssetService.

The blobs of an asset are named `assets/<id>/<place>`, and claimed by `asset/<id>`: so all of them
can be let go by that alone, also those that were never claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any, TypeVar

import grpc
from gimle.asgard.core.errors import (
    BlobTooLargeError,
    DigestMismatchError,
    NotFoundError,
    StorageFullError,
)
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

from asgard_server.asset.domain import Arrived, Asset, Component
from asgard_server.asset.store import Download, Upload
from asgard_server.asset.wishes import NewComponent
from asgard_server.auth.principal import Principal
from asgard_server.rpc import requests
from asgard_server.store.rpc_refusals import info_of, untaken

T = TypeVar("T")

_BATCH = 1_000
# Calls of one caller that are under way at a time.
_AT_ONCE = 4
_SECONDS = 60.0
# A copy of 5 GB within a store, or of as much within a folder.
_COMPLETING_SECONDS = 600.0


class RpcBlobs:
    """BlobService over `channel`, which leads to where `place` says."""

    def __init__(self, channel: grpc.aio.Channel, place: str) -> None:
        # The generated stubs are typed for either kind of channel.
        self._stub: Any = pb_grpc.BlobServiceStub(channel)
        self._place = place

    async def uploads(
        self, asset: Asset, declared: Sequence[NewComponent], seconds: int, by: Principal
    ) -> list[Upload]:
        """Grant the uploads of components, which `by` may bring in parts; a repeat grants them
        anew.
        """
        asked = [
            _new_upload(asset, place, component, new, seconds, by)
            for place, (component, new) in enumerate(zip(asset.components, declared, strict=True))
        ]

        async def grant(batch: Sequence[pb.NewUpload]) -> Sequence[pb.Upload]:
            answer = await self._call("CreateUploads", pb.CreateUploadsRequest(uploads=batch))
            return list(answer.uploads)

        granted = await _in_batches(asked, grant)
        return [
            _upload(component.name, each)
            for component, each in zip(asset.components, granted, strict=True)
        ]

    async def renew(
        self, asset: Asset, names: Sequence[str], seconds: int, by: Principal
    ) -> list[Upload]:
        """Grant uploads that have begun anew, and let `by` bring them."""
        chosen = set(names)
        wanted = [each for each in asset.components if each.name in chosen]

        async def grant(batch: Sequence[Component]) -> Sequence[pb.Upload]:
            ids = [each.blob_id or "" for each in batch]
            request = pb.RenewUploadsRequest(blob_ids=ids, lent_to=_lent_to(by))
            request.grant_duration.seconds = seconds
            return list((await self._call("RenewUploads", request)).uploads)

        granted = await _in_batches(wanted, grant)
        return [_upload(each.name, got) for each, got in zip(wanted, granted, strict=True)]

    async def complete(self, asset: Asset) -> dict[str, Arrived]:
        """Look at what has arrived, and keep all of it or nothing; answer that by name. Raises
        `DigestMismatchError`.
        """
        seen = await self._completed(asset, dry_run=True)
        if len(seen) < len(asset.components):
            return seen
        return await self._completed(asset, dry_run=False)

    async def _completed(self, asset: Asset, *, dry_run: bool) -> dict[str, Arrived]:
        async def complete(batch: Sequence[Component]) -> Sequence[Any]:
            request = pb.CompleteUploadsRequest(dry_run=dry_run)
            for each in batch:
                request.uploads.add(blob_id=each.blob_id or "")
            answer = await self._call("CompleteUploads", request, _COMPLETING_SECONDS)
            return list(answer.outcomes)

        arrived: dict[str, Arrived] = {}
        outcomes = await _in_batches(asset.components, complete)
        for component, outcome in zip(asset.components, outcomes, strict=True):
            if outcome.HasField("blob"):
                sha256 = outcome.blob.sha256 if outcome.blob.HasField("sha256") else None
                arrived[component.name] = Arrived(outcome.blob.size_bytes, sha256)
            elif outcome.problem.reason == "DIGEST_MISMATCH":
                raise DigestMismatchError(component.name, outcome.problem.message)
        return arrived

    async def claim(self, asset: Asset) -> None:
        """Say that the asset needs its blobs."""

        async def claim(batch: Sequence[Component]) -> Sequence[None]:
            ids = [each.blob_id or "" for each in batch]
            request = pb.ClaimBlobsRequest(blob_ids=ids, owner=asset.blobs_owner)
            await self._call("ClaimBlobs", request)
            return [None] * len(batch)

        await _in_batches(asset.components, claim)

    async def release(self, owner: str) -> None:
        """Let everything go that is an owner's. A repeat is no error."""
        await self._call("ReleaseBlobs", pb.ReleaseBlobsRequest(owner=owner), _COMPLETING_SECONDS)
        # What had not been claimed yet.
        request = pb.DeleteBlobsRequest(name_prefix=_prefix(owner))
        await self._call("DeleteBlobs", request, _COMPLETING_SECONDS)

    async def downloads(self, blobs: Sequence[tuple[str, str]], seconds: int) -> list[Download]:
        """URLs that read blobs, given by ids and the file names to save them by."""

        async def grant(batch: Sequence[tuple[str, str]]) -> Sequence[Download]:
            request = pb.CreateDownloadsRequest()
            request.grant_duration.seconds = seconds
            for blob_id, save_as in batch:
                request.downloads.add(blob_id=blob_id, save_as=_file_name(save_as))
            answer = await self._call("CreateDownloads", request)
            return [
                Download(each.grant.url, each.grant.expire_time.ToDatetime(UTC))
                for each in answer.downloads
            ]

        return await _in_batches(blobs, grant)

    async def write(self, owner: str, blob_id: str, content_type: str, body: bytes) -> None:
        """Write a small blob of an owner, and claim it for him. A repeat is no error."""
        request = pb.WriteBlobRequest(
            blob_id=blob_id, name=f"{_prefix(owner)}0", content_type=content_type, body=body
        )
        await self._call("WriteBlob", request)
        await self._call("ClaimBlobs", pb.ClaimBlobsRequest(blob_ids=[blob_id], owner=owner))

    async def read(self, blob_id: str) -> bytes:
        """Read a small blob. Raises `BlobTooLargeError`."""
        answer = await self._call("ReadBlob", pb.ReadBlobRequest(blob_id=blob_id))
        return bytes(answer.body)

    async def _call(self, method: str, request: Any, seconds: float = _SECONDS) -> Any:
        try:
            return await getattr(self._stub, method)(
                request, timeout=seconds, metadata=requests.outgoing()
            )
        except grpc.aio.AioRpcError as error:
            raise self._raised(error) from error

    def _raised(self, error: grpc.aio.AioRpcError) -> Exception:
        info = info_of(error)
        # Of one that is not ready nothing is to be had, either.
        if info.reason in ("BLOB_NOT_FOUND", "BLOB_NOT_READY"):
            return NotFoundError("blob", info.metadata["blobId"])
        if info.reason == "BLOB_TOO_LARGE":
            return BlobTooLargeError(int(info.metadata["limitBytes"]))
        # Of uploads alone, and told without the blobs' names, which are nothing to who asks: what
        # the outbox brings is brought again.
        if info.reason == "STORAGE_FULL" and "neededBytes" in info.metadata:
            return StorageFullError.told(self._place, {**info.metadata, "what": ""})
        said = f"BlobService says: {error.details() or error.code().name}"
        return untaken(error, self._place, said)


def _new_upload(
    asset: Asset, place: int, component: Component, new: NewComponent, seconds: int, by: Principal
) -> pb.NewUpload:
    upload = pb.NewUpload(
        blob_id=component.blob_id or "",
        name=f"{_prefix(asset.blobs_owner)}{place}",
        size_bytes=new.size_bytes,
        sha256=new.sha256,
        content_type=component.content_type,
        plain=new.size_bytes is None,
        lent_to=_lent_to(by),
    )
    upload.grant_duration.seconds = seconds
    return upload


def _lent_to(by: Principal) -> str:
    """Who may bring parts; those who see everything need not be named."""
    return "" if by.sees_everything else by.sub


def _upload(name: str, got: pb.Upload) -> Upload:
    if got.HasField("put"):
        put = got.put
        expires_at = put.expire_time.ToDatetime(UTC)
        return Upload(name, put.url, put.method, dict(put.headers), expires_at)
    if got.HasField("parts"):
        return Upload(name, parts_blob_id=got.blob.blob_id)
    return Upload(name)


def _prefix(owner: str) -> str:
    """What the names of an owner's blobs begin with."""
    return f"assets/{owner.partition('/')[2]}/"


def _file_name(name: str) -> str:
    """The last step of a component's name, where it is one that may stand in a header."""
    step = name.rpartition("/")[2]
    return step if len(step.encode()) <= 200 else ""


async def _in_batches(items: Sequence[Any], work: Any) -> list[Any]:
    """The answers of a call that takes so many at once, in the order of the items."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(batch: Sequence[Any]) -> Sequence[Any]:
        async with turns:
            answer: Sequence[Any] = await work(batch)
            return answer

    answers = await asyncio.gather(*map(one, _batches(items)))
    return [each for answer in answers for each in answer]


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
