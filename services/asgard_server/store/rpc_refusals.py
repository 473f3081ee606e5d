"""What another service says in refusing a call, read where its answer is turned into our words."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


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
