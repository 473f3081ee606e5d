"""Rows of blobs as tuples of columns, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from asgard_server.blob.domain import Blob

COLUMNS = (
    "id", "name", "state", "way", "attempt", "content_type", "created_at", "expires_at",
    "grants_until", "size_bytes", "sha256", "sha256_verified", "sha256_parts", "part_size_bytes",
    "upload_id", "ready_at", "maker", "lent_to",
)  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """A moment in whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(count: int) -> datetime:
    """A moment from microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=count)


# Blobs that began in one call have their moments in common.
_moment = lru_cache(maxsize=256)(moment)


def row_of(blob: Blob) -> tuple[Any, ...]:
    """The columns of a blob, but for its owners."""
    return (
        blob.id, blob.name, blob.state, blob.way, blob.attempt, blob.content_type,
        micros(blob.created_at), micros(blob.expires_at), micros(blob.grants_until),
        blob.size_bytes, blob.sha256, blob.sha256_verified, blob.sha256_parts,
        blob.part_size_bytes, blob.upload_id,
        None if blob.ready_at is None else micros(blob.ready_at),
        blob.maker, "".join(map(lent, blob.lent_to)),
    )  # fmt: skip


def blob_of(row: Sequence[Any], owners: Sequence[str] = ()) -> Blob:
    """The blob of columns in their order."""
    return Blob(
        id=row[0],
        name=row[1],
        state=row[2],
        way=row[3],
        attempt=row[4],
        content_type=row[5],
        created_at=_moment(row[6]),
        expires_at=_moment(row[7]),
        grants_until=_moment(row[8]),
        size_bytes=row[9],
        sha256=row[10],
        sha256_verified=bool(row[11]),
        sha256_parts=row[12],
        part_size_bytes=row[13],
        upload_id=row[14],
        ready_at=None if row[15] is None else _moment(row[15]),
        owners=tuple(owners),
        maker=row[16],
        lent_to=tuple(json.loads(line) for line in row[17].splitlines()[1:]) if row[17] else (),
    )


def lent(sub: str) -> str:
    """A principal that parts are lent to, as a line of the column: no line is within another."""
    return "\n" + json.dumps(sub)


def after_prefix(prefix: str) -> str:
    """A text that is greater than all that begin with `prefix`, compared by code points."""
    return prefix + "\U0010ffff"
