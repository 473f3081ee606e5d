"""Each call has a principal, found before its handler begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from asgard_server.auth.callers import Authenticate, bind, caller, identified
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.rpc.calls import CallInterceptor
from gimle.asgard.core.access_errors import UnauthenticatedError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream", "written")


class Telling:
    """A service of one method of each form, that answers who calls."""

    async def answer(self, request: Any, context: Any) -> bytes:
        return caller().sub.encode()

    async def answers(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        yield caller().sub.encode()

    async def writes(self, request: Any, context: Any) -> None:
        await context.write(caller().sub.encode())

    def handlers(self) -> dict[str, Any]:
        return {
            "unary_unary": grpc.unary_unary_rpc_method_handler(self.answer),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self.answers),
            "stream_unary": grpc.stream_unary_rpc_method_handler(self.answer),
            "stream_stream": grpc.stream_stream_rpc_method_handler(self.answers),
            "written": grpc.unary_stream_rpc_method_handler(self.writes),
        }


def by_name(context: Any) -> Principal:
    given = dict(context.invocation_metadata())
    if "name" not in given:
        raise UnauthenticatedError
    return Principal(given["name"])


async def by_name_later(context: Any) -> Principal:
    await asyncio.sleep(0)
    return by_name(context)


@asynccontextmanager
async def served(authenticate: Authenticate | None) -> AsyncIterator[grpc.aio.Channel]:
    interceptor = CallInterceptor(limit_bytes=1_000)
    if authenticate is not None:
        interceptor = CallInterceptor(limit_bytes=1_000, authenticate=authenticate)
    server = grpc.aio.server(
        interceptors=[interceptor],
        options=[("grpc.so_reuseport", 0)],
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Telling", Telling().handlers()),)
    )
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(None)


async def called_by(channel: grpc.aio.Channel, kind: str, name: str | None = None) -> bytes:
    async def requests() -> AsyncIterator[bytes]:
        yield b"?"

    form = "unary_stream" if kind == "written" else kind
    method: Any = getattr(channel, form)(f"/test.Telling/{kind}")
    metadata = () if name is None else (("name", name),)
    started = method(requests() if kind.startswith("stream") else b"?", metadata=metadata)
    if form.endswith("unary"):
        answer: bytes = await started
        return answer
    return b"".join([answer async for answer in started])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("authenticate", [by_name, by_name_later], ids=["at-once", "after-asking"])
async def test_a_handler_of_each_form_knows_who_calls(
    kind: str, authenticate: Authenticate
) -> None:
    async with served(authenticate) as channel:
        said = await asyncio.gather(*(called_by(channel, kind, f"user-{n}") for n in range(20)))
    assert said == [f"user-{n}".encode() for n in range(20)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("authenticate", [by_name, by_name_later], ids=["at-once", "after-asking"])
async def test_who_is_not_identified_reaches_no_handler(
    kind: str, authenticate: Authenticate
) -> None:
    async with served(authenticate) as channel:
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await called_by(channel, kind)
            # Said by gRPC's client itself where the answer came before it had sent its message.
            if "SendMessageOperation" not in str(refused.value.debug_error_string()):
                break
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("kind", KINDS)
async def test_without_an_authenticator_everybody_is_the_local_user(kind: str) -> None:
    async with served(None) as channel:
        assert await called_by(channel, kind, "mallory") == b"local"


async def test_health_is_told_to_everybody() -> None:
    async with served(by_name) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_outside_of_a_call_nobody_is_identified() -> None:
    with pytest.raises(UnauthenticatedError):
        caller()


async def test_a_stream_ends_when_it_can_no_longer_be_found_out_who_calls() -> None:
    asked = 0

    def breaking(context: Any) -> Principal:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise RuntimeError("the look-up is broken")
        return Principal("alice")

    async def for_ever(request: Any, context: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="is broken"):
        async with asyncio.timeout(30):
            await identified(for_ever, breaking, streams=True)(b"?", None)


async def test_one_task_is_not_another_tasks_caller() -> None:
    async def other() -> str:
        bind(Principal("other"))
        await asyncio.sleep(0)
        return caller().sub

    bind(Principal("one"))
    assert set(await asyncio.gather(other(), other())) == {"other"}
    assert caller().sub == "one"


def test_keys_are_the_strings_that_stand_in_grants() -> None:
    alice = Principal("alice", organizations=frozenset({"org_1"}), teams=frozenset({"team_1"}))
    assert alice.keys == {"alice", "org_1", "team_1", "everyone"}
    assert not alice.sees_everything
    assert LOCAL.sees_everything
    assert Principal("blob", kind="service").sees_everything
