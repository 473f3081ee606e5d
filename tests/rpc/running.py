"""A real service over a real folder, for tests: `async with a_service(folder) as service`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from asgard_server.all_in_one import RunService, run_service
from asgard_server.settings import Settings
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.new_result_pb2 import NewResult
from google.rpc import error_details_pb2
from grpc_status import rpc_status

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Channels of one process share connections otherwise; watchers are to be apart.
    ("grpc.use_local_subchannel_pool", 1),
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

Refusal = tuple[grpc.StatusCode, str, dict[str, str]]


class Running:
    """A service that runs, and a stub to call it by."""

    def __init__(self, service: RunService, channel: grpc.aio.Channel, folder: Path) -> None:
        self.service = service
        self.channel = channel
        self.folder = folder
        # The generated stubs are typed for either kind of channel; tests want this one's.
        self.stub: Any = pb_grpc.RunServiceStub(channel)


@asynccontextmanager
async def a_service(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """Serve `folder` on a free port until the block ends, relaxed unless told."""
    given = {"durability": "relaxed", "grpc_port": 0, "drain_seconds": 0.5, **settings}
    async with run_service(Settings(storage=folder, **given)) as service:
        # A new folder's index begins an epoch when it is built, a moment after the start.
        await service.reconciled()
        async with grpc.aio.insecure_channel(service.address, options=OPTIONS) as channel:
            yield Running(service, channel, folder)
        await service.drain()


async def refusal(call: Any) -> Refusal:
    """Await a call that must be refused: its code, its reason and the reason's metadata."""
    unary = isinstance(call, (grpc.aio.UnaryUnaryCall, grpc.aio.StreamUnaryCall))
    waiting = call if unary else _to_the_end(call)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    return refused(caught.value)


async def _to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


def refused(error: grpc.aio.AioRpcError) -> Refusal:
    """The code of an error, its reason and the reason's metadata."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what it reads
    assert status is not None, f"{error.code()} without details: {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1
    assert info.domain == "asgard.gimle.io"
    return error.code(), info.reason, dict(info.metadata)


def npy(array: Any) -> bytes:
    """An array as the .npy file that goes with a request."""
    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def a_result(**fields: Any) -> NewResult:
    """A small result; `fields` replace its own."""
    given = {"result_type": "Solution1D", "data": b'{"x":[0,1],"computed":[1,2]}', **fields}
    return NewResult(**given)


async def eventually(condition: Any, seconds: float = 40.0) -> Any:
    """Wait until `condition()` is true and answer it; fail after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.01)
