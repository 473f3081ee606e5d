"""Calls that nobody waits for any more: not begun, or ended, and counted as what they are."""

from __future__ import annotations

import asyncio
import time
from collections import namedtuple
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from asgard_server.rpc.calls import CallInterceptor, why_left
from prometheus_client import REGISTRY

from tests.rpc.running import eventually


class Work:
    """A service whose one method does something until it is told to stop."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.ended = 0

    async def do(self, request: bytes, context: Any) -> bytes:
        self.begun.append(request)
        if request == b"block":
            time.sleep(1.2)  # the loop itself is to be late
            return b""
        try:
            await asyncio.sleep(60)
        finally:
            self.ended += 1
        return b""

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"begun"
        await self.do(request, context)


@asynccontextmanager
async def served(work: Work) -> AsyncIterator[str]:
    """Serve it behind the interceptor; the address."""
    server = grpc.aio.server(interceptors=[CallInterceptor(limit_bytes=1_000)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Do": grpc.unary_unary_rpc_method_handler(work.do),
        "Stream": grpc.unary_stream_rpc_method_handler(work.stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Work", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


def counted(method: str, code: str) -> Callable[[], float]:
    """How many more calls ended like this than now."""
    labels = {"method": method, "code": code}

    def value() -> float:
        return REGISTRY.get_sample_value("asgard_rpc_calls_total", labels) or 0.0

    before = value()
    return lambda: value() - before


class Late:
    """The context of a call that waited in a queue until its deadline had passed."""

    status: grpc.Status | None = None

    def time_remaining(self) -> float:
        return 0.0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", "late"),)

    async def abort_with_status(self, status: grpc.Status) -> None:
        self.status = status
        raise grpc.aio.AbortError


async def test_work_that_was_queued_past_its_deadline_is_not_begun() -> None:
    work, late, context = Work(), counted("Do", "DEADLINE_EXCEEDED"), Late()

    async def handler(details: Any) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(work.do)

    details: Any = namedtuple("Details", "method")("/test.Work/Do")
    wrapped: Any = await CallInterceptor(limit_bytes=1_000).intercept_service(handler, details)
    with pytest.raises(grpc.aio.AbortError):
        await wrapped.unary_unary(b"late", context)
    assert context.status is not None
    assert context.status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert late() == 1
    assert work.begun == []


async def test_work_that_came_while_the_service_was_busy_is_not_begun_too_late() -> None:
    work = Work()
    async with served(work) as address:

        def from_elsewhere() -> None:
            with grpc.insecure_channel(address) as channel:
                method: Any = channel.unary_unary("/test.Work/Do")
                grpc.channel_ready_future(channel).result(10)
                blocked = method.future(b"block", timeout=30)
                while not work.begun:
                    time.sleep(0.005)
                with pytest.raises(grpc.RpcError) as caught:
                    method(b"late", timeout=0.2)
                assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                blocked.result()

        with ThreadPoolExecutor(1) as elsewhere:
            await asyncio.get_running_loop().run_in_executor(elsewhere, from_elsewhere)
        await asyncio.sleep(0.1)
    assert work.begun == [b"block"]


@pytest.mark.parametrize("method", ["Do", "Stream"])
async def test_work_is_ended_at_the_deadline_of_who_waits_for_it(method: str) -> None:
    work, late = Work(), counted(method, "DEADLINE_EXCEEDED")
    async with served(work) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _called(channel, method, 0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: work.ended == 1 and late() == 1)


@pytest.mark.parametrize("method", ["Do", "Stream"])
async def test_work_is_ended_when_its_caller_leaves(method: str) -> None:
    work, left = Work(), counted(method, "CANCELLED")
    async with served(work) as address, grpc.aio.insecure_channel(address) as channel:
        calling = asyncio.ensure_future(_called(channel, method))
        await eventually(lambda: work.begun)
        calling.cancel()
        await eventually(lambda: work.ended == 1 and left() == 1)


async def _called(channel: grpc.aio.Channel, method: str, seconds: float | None = None) -> None:
    if method == "Do":
        once: Any = channel.unary_unary("/test.Work/Do")
        await once(b"long", timeout=seconds)
        return
    many: Any = channel.unary_stream("/test.Work/Stream")
    async for _ in many(b"long", timeout=seconds):
        pass


@pytest.mark.parametrize(
    ("remaining_s", "code"),
    [
        (0.0, "DEADLINE_EXCEEDED"),
        (0.002, "DEADLINE_EXCEEDED"),  # the caller's clock was that much ahead
        (0.2, "CANCELLED"),
        (None, "CANCELLED"),
    ],
)
def test_who_leaves_at_his_deadline_has_not_changed_his_mind(
    remaining_s: float | None, code: str
) -> None:
    assert why_left(remaining_s) == code
