"""Grants as services say them."""

from __future__ import annotations

from gimle.asgard.transfer import Grant
from gimle.asgard.v1 import blob_service_pb2 as pb


def grant_of(message: pb.Grant) -> Grant:
    """A grant of its message."""
    expires = message.expire_time.seconds + message.expire_time.nanos / 1e9
    return Grant(message.method, message.url, dict(message.headers), expires)
