"""What is known of blobs, and what calls about many of them end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from gimle.asgard.core import errors
from gimle.asgard.transfer import Digest
from gimle.asgard.v1 import blob_service_pb2 as pb

State = Literal["uploading", "ready", "abandoned"]

_STATES: Mapping[int, State] = {
    pb.Blob.STATE_UPLOADING: "uploading",
    pb.Blob.STATE_READY: "ready",
    pb.Blob.STATE_ABANDONED: "abandoned",
}


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in the store, and what is known of them.

    `sha256` is of all bytes, in hexadecimal; `sha256_verified` when the store has computed it
    itself. What went in parts has `sha256_parts`, over the digests of the parts, verified too.
    """

    id: str
    name: str
    state: State
    size_bytes: int | None
    content_type: str
    sha256: str | None
    sha256_verified: bool
    sha256_parts: str | None
    part_size_bytes: int | None
    created_at: datetime
    ready_at: datetime | None
    owners: tuple[str, ...]

    @property
    def digest(self) -> Digest | None:
        """What its bytes are checked against, None when nothing is known of them."""
        if self.sha256 is not None:
            return Digest("sha256", bytes.fromhex(self.sha256))
        if self.sha256_parts is not None and self.part_size_bytes is not None:
            return Digest("sha256", bytes.fromhex(self.sha256_parts), self.part_size_bytes)
        return None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The blobs that are there now, in the order of the files; of `bytes` so many were sent."""

    blobs: tuple[Blob, ...]
    bytes: int
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The files that are there now, in the order of names; of `bytes` so many were fetched."""

    blobs: tuple[Blob, ...]
    paths: tuple[Path, ...]
    bytes: int
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is gone, and how many blobs were left because somebody has claimed them."""

    count: int
    bytes: int
    claimed: int


def blob_of(message: pb.Blob) -> Blob:
    """A blob of its message."""
    return Blob(
        id=message.blob_id,
        name=message.name,
        state=_STATES.get(message.state, "uploading"),
        size_bytes=message.size_bytes if message.HasField("size_bytes") else None,
        content_type=message.content_type,
        sha256=message.sha256 if message.HasField("sha256") else None,
        sha256_verified=message.sha256_verified,
        sha256_parts=message.sha256_parts if message.HasField("sha256_parts") else None,
        part_size_bytes=message.part_size_bytes if message.HasField("part_size_bytes") else None,
        created_at=message.create_time.ToDatetime(UTC),
        ready_at=message.ready_time.ToDatetime(UTC) if message.HasField("ready_time") else None,
        owners=tuple(message.owners),
    )


_Row = Callable[[str, str, tuple[int, ...]], errors.AsgardError]

_PROBLEMS: Mapping[str, _Row] = {
    "BLOB_NOT_FOUND": lambda name, said, missing: errors.NotFoundError("blob", name),
    "UPLOAD_INCOMPLETE": lambda name, said, missing: errors.UploadIncompleteError(
        name, said.partition(" is not complete: ")[2] or said, missing
    ),
    "UPLOAD_ENDED": lambda name, said, missing: errors.UploadEndedError(
        name, said.partition(" it is ")[2].partition(";")[0] or "ended"
    ),
    "DIGEST_MISMATCH": lambda name, said, missing: errors.DigestMismatchError(
        name, said.partition(": ")[2].rpartition("; upload ")[0] or said
    ),
}


def problem(name: str, message: pb.UploadProblem) -> errors.AsgardError:
    """The exception for one upload of many: `name` is how its author knows it."""
    row = _PROBLEMS.get(message.reason)
    if row is None:
        return errors.ServiceError(f"{name}: {message.message or message.reason}")
    return row(name, message.message, tuple(message.missing_parts))
