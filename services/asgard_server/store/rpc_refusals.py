"""What another service says in refusing a call, read where its answer is turned into our words."""

from __future__ import annotations

import grpc
from gimle.asgard.core.errors import StorageUnavailableError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from asgard_server.outbox.refused import RefusedError

_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.DATA_LOSS,
    }
)
# Of the place and not of what was asked: an operator mends it.
_OF_THE_PLACE = frozenset({"STORAGE_READ_ONLY", "GRANTS_UNAVAILABLE"})


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The reason of a refusal and its metadata; empty where none came, so also where nobody
    answered.
    """
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what it reads
    for detail in () if status is None else status.details:
        if detail.Unpack(info):
            break
    return info


def is_final(error: grpc.aio.AioRpcError) -> bool:
    """Whether the service itself said no to what it was asked. What has no reason of ours may come
    from a proxy on the way.
    """
    reason = info_of(error).reason
    return error.code() in _FINAL and bool(reason) and reason not in _OF_THE_PLACE


def untaken(error: grpc.aio.AioRpcError, place: str, said: str) -> StorageUnavailableError:
    """What a receiver of the outbox raises: `RefusedError` for what will be refused again."""
    if is_final(error):
        return RefusedError(place, said)
    return StorageUnavailableError(place, said, passing=True)
