"""Fields of messages that are the same in every service: times, and what may be absent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A moment as its message, in microseconds; None for none, which leaves a field out."""
    if moment is None:
        return None
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def optional(message: Any, name: str) -> Any:
    """A field that may be absent: None then."""
    return getattr(message, name) if message.HasField(name) else None
