"""Grants as services say them."""

from __future__ import annotations

from datetime import UTC

from gimle.asgard.transfer import Grant
from gimle.asgard.v1 import blob_service_pb2 as pb


def grant_of(message: pb.Grant) -> Grant:
    """A grant of its message."""
    expires = message.expire_time.ToDatetime(UTC).timestamp()
    return Grant(message.method, message.url, dict(message.headers), expires)
