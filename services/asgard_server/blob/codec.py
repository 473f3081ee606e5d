"""Between the messages of blob_service.proto and the rows. Nothing else."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

from gimle.asgard.core.errors import InvalidFieldError, UploadIncompleteError
from gimle.asgard.v1 import blob_service_pb2 as pb

from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.keeping import Wanted
from asgard_server.blob.parts import Part, part_count, part_size
from asgard_server.blob.store import Grant
from asgard_server.blob.uploading import Begun
from asgard_server.rpc.errors import failure
from asgard_server.rpc.fields import optional, timestamp

# The blobs of one call have most of their moments in common.
_timestamp = lru_cache(maxsize=256)(timestamp)

# What many of which go into one answer is made of: given as messages each would be made, and then
# copied into the one around it, at twice the cost.
Fields: TypeAlias = dict[str, Any]

_STATES = {
    "uploading": pb.Blob.STATE_UPLOADING,
    "ready": pb.Blob.STATE_READY,
    "abandoned": pb.Blob.STATE_ABANDONED,
    "deleted": pb.Blob.STATE_ABANDONED,  # seen by nobody: a deleted blob is not found
}


def seconds(message: Any, name: str = "grant_duration") -> int | None:
    """A duration in whole seconds, rounded down; None when absent."""
    return int(getattr(message, name).seconds) if message.HasField(name) else None


def new_upload(upload: pb.NewUpload) -> NewUpload:
    """An upload that is asked for."""
    return NewUpload(
        id=upload.blob_id,
        name=upload.name,
        size_bytes=optional(upload, "size_bytes"),
        sha256=optional(upload, "sha256"),
        content_type=upload.content_type,
        plain=upload.plain,
        seconds=seconds(upload),
        lent_to=upload.lent_to,
    )


def body(request: pb.WriteBlobRequest) -> bytes:
    """The bytes to be written. Raises `InvalidFieldError` for a request that has none at all."""
    if not request.HasField("body"):
        raise InvalidFieldError("body", "is missing", "give bytes, or empty ones")
    return request.body


def wanted(item: pb.CreateDownloadsRequest.Item) -> Wanted:
    """A download that is asked for."""
    return Wanted(
        blob_id=item.blob_id,
        first=optional(item, "first_byte"),
        last=optional(item, "last_byte"),
        save_as=item.save_as,
    )


def blob_message(blob: Blob) -> pb.Blob:
    """A blob as its message."""
    return pb.Blob(**_blob_fields(blob))


def _blob_fields(blob: Blob) -> Fields:
    return {
        "blob_id": blob.id,
        "name": blob.name,
        "state": _STATES[blob.state],
        "size_bytes": blob.size_bytes,
        "content_type": blob.content_type,
        "sha256": blob.sha256,
        "sha256_verified": blob.sha256_verified,
        "sha256_parts": blob.sha256_parts,
        "part_size_bytes": blob.part_size_bytes,
        "create_time": _timestamp(blob.created_at),
        "ready_time": _timestamp(blob.ready_at),
        "expire_time": _timestamp(blob.expires_at) if blob.state == "uploading" else None,
        "owners": blob.owners,
    }


def upload_fields(begun: Begun) -> Any:
    """The fields of an upload with its grant, or its plan of parts."""
    blob = begun.blob
    if begun.put is not None:
        return {"blob": _blob_fields(blob), "put": _grant_fields(begun.put)}
    if blob.state == "uploading":
        return {"blob": _blob_fields(blob), "parts": plan(blob)}
    return {"blob": _blob_fields(blob)}


def plan(blob: Blob) -> pb.PartsPlan:
    """The parts in which a blob is uploaded."""
    size = blob.size_bytes or 0
    return pb.PartsPlan(
        part_size_bytes=part_size(size),
        part_count=part_count(size),
        expire_time=_timestamp(blob.expires_at),
    )


def part_message(part: Part) -> pb.ListPartsResponse.Part:
    """A part that has arrived, as its message."""
    return pb.ListPartsResponse.Part(
        number=part.number, size_bytes=part.size_bytes, sha256=part.sha256
    )


def grant_message(grant: Grant) -> pb.Grant:
    """A grant as its message."""
    return pb.Grant(**_grant_fields(grant))


def _grant_fields(grant: Grant) -> Fields:
    return {
        "url": grant.url,
        "method": grant.method,
        "headers": grant.headers,
        "expire_time": _timestamp(grant.expires_at),
    }


def outcome_fields(blob_id: str, done: Blob | Exception) -> Any:
    """The fields of what has become of one upload of many."""
    if isinstance(done, Blob):
        return {"blob_id": blob_id, "blob": _blob_fields(done)}
    missing = done.missing_parts if isinstance(done, UploadIncompleteError) else ()
    problem = pb.UploadProblem(
        reason=failure(done, "").reason, message=str(done), missing_parts=missing
    )
    return {"blob_id": blob_id, "problem": problem}
