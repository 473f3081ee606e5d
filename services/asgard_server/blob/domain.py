"""The rules of BlobService: ways of uploading, states, keys.

Pure: functions over rows that return new ones or raise errors that carry their data. Nothing
here knows gRPC, S3 or SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from gimle.asgard.core.errors import BlobNotReadyError, InvalidFieldError, UploadEndedError
from gimle.asgard.core.ids import check_id, new_id

from asgard_server.blob import limits
from asgard_server.blob.limits import (
    CONTENT_TYPE,
    checked_content_type,
    checked_sha256,
    checked_size,
    grant_seconds,
)
from asgard_server.blob.names import checked_name
from asgard_server.blob.parts import part_size

State = Literal["uploading", "ready", "abandoned", "deleted"]
Way = Literal["checked", "parts", "plain"]

# An upload that nobody completes is given up after this time, or when its last grant ends.
UPLOAD_DAYS = 7
_UPLOADING = timedelta(days=UPLOAD_DAYS)
# Clocks differ, and a request that began in time may end later.
MARGIN = timedelta(minutes=15)
# A grant that holds a little longer than was noted is within the margin: so grants that follow
# one another, as those of parts do, are not noted one by one.
UNNOTED = timedelta(minutes=5)

# No copy of 5 GB within a store takes as long.
COPYING = timedelta(hours=1)

# What may become of a blob. There is no way back from the last two.
_NEXT: dict[State, frozenset[State]] = {
    "uploading": frozenset({"ready", "abandoned"}),
    "ready": frozenset({"deleted"}),
    "abandoned": frozenset(),
    "deleted": frozenset(),
}

# The attempt of an upload that begins, and what is before one that several blobs share.
FIRST, TOGETHER = "1", "~"


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What a client declares of bytes it wants to upload.

    `lent_to`: a principal who may bring its parts, too.
    """

    id: str = ""
    name: str = ""
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str = ""
    plain: bool = False
    seconds: int | None = None
    lent_to: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """A row of the table of blobs.

    `attempt` is a step of its key, the last one or, with TOGETHER before it, the one that it has in
    common with others of its call; `upload_id` what the store calls an upload in parts.
    `grants_until`: the moment from which no URL that was given out can change its key any more.
    `maker`: the principal it was asked for by, empty for the services, the local user, and what is
    from before there were makers; its name is among the maker's. `lent_to`: those who may bring its
    parts beside the maker.
    """

    id: str
    name: str
    state: State
    way: Way
    attempt: str
    content_type: str
    created_at: datetime
    expires_at: datetime
    grants_until: datetime
    size_bytes: int | None = None
    sha256: str | None = None
    sha256_verified: bool = False
    sha256_parts: str | None = None
    part_size_bytes: int | None = None
    upload_id: str | None = None
    ready_at: datetime | None = None
    owners: tuple[str, ...] = ()
    maker: str = ""
    lent_to: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Where its bytes are, or will be."""
        if self.attempt.startswith(TOGETHER):
            return f"blobs/{self.attempt}/{self.id}"
        return f"blobs/{self.id}/{self.attempt}"

    @property
    def arrives_at(self) -> str:
        """The key that its grants name: bytes of a plain PUT are copied from there."""
        return f"staging/{self.id}/{self.attempt}" if self.way == "plain" else self.key


class Target(Protocol):
    """What bytes are uploaded for: a blob, or an object that another service keeps."""

    @property
    def key(self) -> str:
        """Where its bytes are, or will be."""

    @property
    def arrives_at(self) -> str:
        """The key that its grants name."""

    @property
    def way(self) -> Way:
        """How they come."""

    @property
    def size_bytes(self) -> int | None:
        """How many there are, where that is declared."""

    @property
    def sha256(self) -> str | None:
        """Their digest in hexadecimal, where that is declared."""

    @property
    def content_type(self) -> str:
        """What they are said to be."""

    @property
    def upload_id(self) -> str | None:
        """What the store calls an upload in parts."""


class Held(NamedTuple):
    """An object as the store has it, with the digests in hexadecimal that it knows itself.

    `sha256` is of all bytes, `sha256_parts` over the digests of the parts it came in.
    """

    size_bytes: int
    etag: str
    sha256: str | None = None
    sha256_parts: str | None = None


def begin(
    new: NewUpload, now: datetime, maker: str = "", at: str = "", checked: str = FIRST
) -> Blob:
    """Make the row of a new upload, whose attempt is `checked` if the store checks all of it.

    `at` is put before the names of fields, as in `uploads[3].`. Raises `InvalidFieldError` for a
    field that breaks its rule.
    """
    blob_id = check_id(new.id, f"{at}blob_id") if new.id else new_id(now)
    size = checked_size(new.size_bytes, f"{at}size_bytes")
    sha256 = checked_sha256(new.sha256, f"{at}sha256")
    way = _way(size, sha256, new.plain, f"{at}size_bytes")
    seconds = grant_seconds(new.seconds, f"{at}grant_duration")
    return Blob(
        id=blob_id,
        name=checked_name(new.name, f"{at}name") if new.name else blob_id,
        state="uploading",
        way=way,
        attempt=checked if way == "checked" else FIRST,
        content_type=checked_content_type(new.content_type, f"{at}content_type"),
        created_at=now,
        expires_at=now + _UPLOADING,
        grants_until=now + timedelta(seconds=seconds),
        size_bytes=size,
        sha256=sha256,
        part_size_bytes=part_size(size) if way == "parts" and size else None,
        maker=maker,
        lent_to=(new.lent_to,) if new.lent_to else (),
    )


def id_of_key(key: str) -> str:
    """The blob whose key this is, or would be: no id begins with TOGETHER."""
    steps = key.split("/")
    if len(steps) < 2:
        return key
    return steps[-1] if steps[1].startswith(TOGETHER) else steps[1]


def same_upload(asked: Blob, there: Blob) -> bool:
    """Whether a repeat asks for what is there: then it is answered, and nothing is begun."""
    declared = (asked.maker, asked.name, asked.content_type)
    if declared != (there.maker, there.name, there.content_type) or there.state in (
        "abandoned",
        "deleted",
    ):
        return False
    if asked.size_bytes is not None and there.size_bytes not in (None, asked.size_bytes):
        return False
    if asked.sha256 is not None and there.sha256 is not None:
        return asked.sha256 == there.sha256
    # Bytes that are ready are another's until a digest says that they are ours.
    return asked.id == there.id or (there.state == "uploading" and asked.sha256 == there.sha256)


def was(asked: Blob, there: Blob) -> bool:
    """Whether what is asked for was there, of the same maker, and is gone. That another's is gone
    is nobody's business but theirs.
    """
    ended = there.state in ("abandoned", "deleted")
    return ended and (asked.id, asked.maker) == (there.id, there.maker)


def ready(
    blob: Blob,
    held: Held,
    now: datetime,
    *,
    sha256: str | None,
    verified: bool = False,
    sha256_parts: str | None = None,
) -> Blob:
    """The row of an upload that has been completed. `verified`: the store knows `sha256`, too."""
    require_next(blob, "ready")
    return replace(
        blob,
        state="ready",
        size_bytes=held.size_bytes,
        sha256=sha256,
        sha256_verified=verified,
        sha256_parts=sha256_parts,
        upload_id=None,
        ready_at=now,
    )


def copy_at(blob_id: str, attempt: str, noted: datetime) -> Blob:
    """A row that says no more than where a copy lies."""
    return Blob(
        id=blob_id,
        name=blob_id,
        state="deleted",
        way="plain",
        attempt=attempt,
        content_type=CONTENT_TYPE,
        created_at=noted,
        expires_at=noted,
        grants_until=noted,
    )


def moved_to(blob: Blob, state: State) -> Blob:
    """The row in another state. Raises `UploadEndedError` where there is no such way."""
    require_next(blob, state)
    return replace(blob, state=state)


def require_next(blob: Blob, state: State) -> None:
    """Raise `UploadEndedError` unless the blob may come into this state."""
    if state not in _NEXT[blob.state]:
        raise UploadEndedError(blob.id, blob.state)


def require_uploading(blob: Blob) -> Blob:
    """Answer the blob. Raises `UploadEndedError` unless its upload goes on."""
    if blob.state != "uploading":
        raise UploadEndedError(blob.id, blob.state)
    return blob


def require_ready(blob: Blob) -> Blob:
    """Answer the blob. Raises `BlobNotReadyError` unless its bytes can be had."""
    if blob.state != "ready":
        raise BlobNotReadyError(blob.id, blob.state)
    return blob


def _way(size: int | None, sha256: str | None, plain: bool, field: str) -> Way:
    if plain or size is None or (size <= limits.SINGLE_BYTES and sha256 is None):
        if size is not None and size > limits.PLAIN_BYTES:
            raise InvalidFieldError(
                field,
                f"is {size:,}, and one PUT carries at most {limits.PLAIN_BYTES:,}",
                "leave `plain` out: then it goes in parts",
            )
        return "plain"
    return "checked" if size <= limits.SINGLE_BYTES else "parts"
