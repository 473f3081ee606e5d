from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from asgard_server.rpc.calls import CallInterceptor
from asgard_server.rpc.errors import DOMAIN, INTERNAL, RULES
from gimle.asgard.core import errors
from gimle.asgard.v1 import error_reason_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.rpc.error_rows import CODE, TABLE

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Raising:
    """A service of four methods, one of each kind, that raise what they are told."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def answer(self, request: Any, context: Any) -> bytes:
        await self._read(request)
        if self.error is not None:
            raise self.error
        return b"fine"

    async def answers(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        await self._read(request)
        yield b"first"
        if self.error is not None:
            raise self.error

    async def _read(self, request: Any) -> None:
        """To its end: a client of grpc.aio that is still sending takes the refusal for INTERNAL."""
        _ = request if isinstance(request, bytes) else [each async for each in request]

    def handlers(self) -> dict[str, Any]:
        return {
            "unary_unary": grpc.unary_unary_rpc_method_handler(self.answer),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self.answers),
            "stream_unary": grpc.stream_unary_rpc_method_handler(self.answer),
            "stream_stream": grpc.stream_stream_rpc_method_handler(self.answers),
        }


@asynccontextmanager
async def served(error: Exception | None, limit: int = 1_000) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(
        interceptors=[CallInterceptor(limit_bytes=limit)], options=[("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Raising", Raising(error).handlers()),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(None)


async def call(channel: grpc.aio.Channel, kind: str, body: bytes = b"?") -> list[bytes]:
    async def requests() -> AsyncIterator[bytes]:
        yield body

    method: Any = getattr(channel, kind)(f"/test.Raising/{kind}")
    started = method(requests() if kind.startswith("stream") else body)
    if kind.endswith("unary"):
        return [await started]
    return [answer async for answer in started]


async def refused(channel: grpc.aio.Channel, kind: str, body: bytes = b"?") -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, kind, body)
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # AioRpcError has what it reads
    assert status is not None, f"{caught.value.code()} came without details"
    assert status.code == caught.value.code().value[0]
    return status


def info_of(status: Any) -> error_details_pb2.ErrorInfo:
    infos = [
        detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
    ]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == DOMAIN
    return info


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{type(row[0]).__name__}-{row[2]}")
async def test_each_error_reaches_the_caller_with_its_reason(
    kind: str, row: tuple[Exception, grpc.StatusCode, str, dict[str, str]]
) -> None:
    error, code, reason, metadata = row
    async with served(error) as channel:
        status = await refused(channel, kind)
    assert status.code == code.value[0]
    info = info_of(status)
    assert info.reason == reason
    assert dict(info.metadata) == metadata
    assert status.message == str(error)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_goes_well_is_left_as_it_is(kind: str) -> None:
    async with served(None) as channel:
        assert await call(channel, kind) == ([b"fine"] if kind.endswith("unary") else [b"first"])


def test_every_reason_of_the_proto_but_internal_has_its_row() -> None:
    names = {
        name.removeprefix("ERROR_REASON_") for name in dict(error_reason_pb2.ErrorReason.items())
    }
    assert {reason for _, _, reason, _ in TABLE} == names - {"UNSPECIFIED", INTERNAL.reason}
    assert {type(error) for error, *_ in TABLE} == set(RULES)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_defect_says_nothing_of_itself_but_the_request_id(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(KeyError("the password is swordfish")) as channel:
        status = await refused(channel, kind)
    assert status.code == CODE.INTERNAL.value[0]
    info = info_of(status)
    assert info.reason == "INTERNAL"
    assert "swordfish" not in status.message
    said = capsys.readouterr()
    assert info.metadata["requestId"] in status.message
    assert info.metadata["requestId"] in said.out + said.err
    assert "swordfish" in said.out + said.err


async def test_a_refused_field_is_named_as_bad_request_too() -> None:
    async with served(errors.InvalidFieldError("tags[3]", "is empty", "say something")) as channel:
        status = await refused(channel, "unary_unary")
    request = error_details_pb2.BadRequest()
    assert [detail.Unpack(request) for detail in status.details].count(True) == 1
    assert [violation.field for violation in request.field_violations] == ["tags[3]"]
    assert re.search("is empty.*say something", request.field_violations[0].description)


@pytest.mark.parametrize(
    ("error", "helps"),
    [(errors.StoppingError("stopping"), True), (errors.StorageFullError("/data"), False)],
)
async def test_what_waiting_helps_says_how_long(error: Exception, helps: bool) -> None:
    async with served(error) as channel:
        status = await refused(channel, "unary_unary")
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details) is helps
    assert (retry.retry_delay.seconds >= 1) is helps


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_request_over_the_limit_is_refused_and_one_at_it_is_not(kind: str) -> None:
    async with served(None, limit=10) as channel:
        await call(channel, kind, b"x" * 10)
        info = info_of(await refused(channel, kind, b"x" * 11))
    assert (info.reason, info.metadata["limitBytes"]) == ("REQUEST_TOO_LARGE", "10")


async def test_an_unknown_method_is_refused_with_its_reason() -> None:
    async with served(None) as channel:
        nothing: Any = channel.unary_unary("/test.Raising/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await nothing(b"")
        status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # AioRpcError has what it reads
    assert caught.value.code() is CODE.UNIMPLEMENTED
    assert info_of(status).reason == "UNKNOWN_METHOD"


async def test_the_log_carries_the_request_id_the_caller_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with served(errors.NotFoundError("run", "r1")) as channel:
        method: Any = channel.unary_unary("/test.Raising/unary_unary")
        with pytest.raises(grpc.aio.AioRpcError):
            await method(b"", metadata=(("x-request-id", "from-the-caller"),))
    said = capsys.readouterr()
    line = next(each for each in (said.out + said.err).splitlines() if "from-the-caller" in each)
    for part in ("/test.Raising/unary_unary", "NOT_FOUND", "RUN_NOT_FOUND", "seconds"):
        assert part in line
