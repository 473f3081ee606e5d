"""A small real gRPC service whose protos use every corner of google.api.http."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from asgard_server.gateway import schema
from asgard_server.gateway.app import Dispatch
from asgard_server.gateway.decode import Decoders
from asgard_server.gateway.encode import Encoders
from asgard_server.gateway.event_stream import Streams
from asgard_server.gateway.guard import Guard
from asgard_server.gateway.metrics import Metrics
from asgard_server.gateway.routing import Routes
from asgard_server.gateway.schema import Schema
from asgard_server.gateway.transcode import Translation, routes
from asgard_server.processes.page_server import PageServer
from google.api import http_pb2
from google.protobuf import descriptor_pool, text_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from grpc_tools import protoc
from starlette.applications import Starlette
from starlette.middleware import Middleware

SERVICE = "asgardtest.toy.v1.Toys"
_HERE = Path(__file__).parent
_PROTOS = _HERE.parents[1] / "protos"


@cache
def toy_schema() -> Schema:
    """Compile toy.proto as the project's protos are compiled, and read it."""
    google = Path(http_pb2.__file__).parents[2]  # the .proto files lie beside the code
    well_known = files("grpc_tools").joinpath("_proto")
    with TemporaryDirectory() as folder:
        out = Path(folder) / "toy.binpb"
        arguments = [f"-I{_HERE}", f"-I{_PROTOS}", f"-I{google}", f"-I{well_known}"]
        status = protoc.main(
            [
                "protoc",
                *arguments,
                f"--descriptor_set_out={out}",
                "--include_imports",
                "--include_source_info",
                "toy.proto",
            ]
        )
        assert status == 0
        described = schema.load(out.read_bytes())
    return Schema(tuple(r for r in described.rpcs if r.service == SERVICE), described.comments)


def message(name: str, **fields: Any) -> Any:
    """Make a message of toy.proto."""
    toy_schema()
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"asgardtest.toy.v1.{name}")
    return GetMessageClass(descriptor)(**fields)


async def _get(request: Any, context: Any) -> Any:
    if request.toy_id == "missing":
        await _fail(context, grpc.StatusCode.NOT_FOUND, "TOY_NOT_FOUND", toyId="missing")
    label = f"{request.box.box_id}/{request.box.shelf}" if request.HasField("box") else None
    return message("GetToyResponse", toy=message("Toy", toy_id=request.toy_id, label=label))


async def _list(request: Any, context: Any) -> Any:
    text = text_format.MessageToString(request, as_one_line=True)
    toys = [message("Toy", label=tag) for tag in request.tags]
    return message("ListToysResponse", understood=text, toys=toys)


async def _make(request: Any, context: Any) -> Any:
    return message("MakeToyResponse", toy=request.toy)


async def _wind(request: Any, context: Any) -> Any:
    if request.code:
        await _fail(context, grpc.StatusCode[request.code], request.reason, why="asked")
    return message("WindToyResponse", turns=request.turns)


async def _draw(request: Any, context: Any) -> Any:
    made = message("DrawToyResponse", etag=f"e{request.size}")
    made.body.content_type = request.content_type
    made.body.data = b"[" + b" " * request.size + b"]"
    return made


async def _file(request: Any, context: Any) -> Any:
    return message("FileToyResponse", path=request.path)


async def _watch(request: Any, context: Any) -> AsyncIterator[Any]:
    begin = int(request.resume_token or 0)
    if request.fail_with == "at once":
        await _fail(context, grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_UNUSABLE")
    for number in range(begin + 1, begin + 1 + request.count):
        yield message("WatchToysResponse", number=number, resume_token=str(number))
    if request.fail_with == "later":
        await asyncio.sleep(0.3)
        await _fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")


async def _fail(context: Any, code: grpc.StatusCode, reason: str, **metadata: str) -> None:
    if not reason:
        await context.abort(code, "bare")
    status = status_pb2.Status(code=code.value[0], message=f"failed with {reason}")
    detail = AnyMessage()
    detail.Pack(
        error_details_pb2.ErrorInfo(reason=reason, domain="asgard.gimle.io", metadata=metadata)
    )
    status.details.append(detail)
    await context.abort_with_status(rpc_status.to_status(status))


_METHODS = {
    "GetToy": _get,
    "ListToys": _list,
    "MakeToy": _make,
    "WindToy": _wind,
    "DrawToy": _draw,
    "FileToy": _file,
}


@asynccontextmanager
async def toy_gateway(
    *,
    max_body_bytes: int = 1 << 20,
    max_message_bytes: int = -1,
    allowed_hosts: tuple[str, ...] = (),
) -> AsyncIterator[str]:
    """Serve the toys by gRPC and a gateway before them by HTTP; yield the gateway's address."""
    described = toy_schema()
    handlers: dict[str, Any] = {}
    for rpc in described.rpcs:
        read = GetMessageClass(rpc.input).FromString
        write = GetMessageClass(rpc.output).SerializeToString
        handlers[rpc.name] = (
            grpc.unary_stream_rpc_method_handler(_watch, read, write)
            if rpc.streaming
            else grpc.unary_unary_rpc_method_handler(_METHODS[rpc.name], read, write)
        )
    server = grpc.aio.server(
        options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", max_message_bytes))
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=(("grpc.max_receive_message_length", -1),)
    )
    streams = Streams()
    table = Routes()
    shared = Translation(
        lambda service: channel,
        Encoders(),
        Decoders(),
        streams,
        max_body_bytes,
        changed=lambda: None,
    )
    for verb, template, handler in routes(described.rpcs, shared):
        table.add(verb, template, handler)
    guard = Middleware(Guard, allowed_hosts=allowed_hosts, metrics=Metrics())
    app = Starlette(middleware=[guard])
    app.router.default = Dispatch(table)
    try:
        async with serving(app) as address:
            try:
                yield address
            finally:
                streams.close()
    finally:
        await channel.close()
        await server.stop(None)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an app in this loop, on a free port, as the embedded server does."""
    server = PageServer(app, drain_seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        await server.up.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stop()
            await task
