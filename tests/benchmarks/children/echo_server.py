"""An empty grpc.aio service: what the framework alone costs on this machine."""

from __future__ import annotations

from typing import Any

import grpc
import uvloop
from google.protobuf.empty_pb2 import Empty


async def _echo(request: Empty, context: Any) -> Empty:
    return request


async def _serve() -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    method = grpc.unary_unary_rpc_method_handler(
        _echo, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Echo", {"Echo": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve())
