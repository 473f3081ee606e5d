"""AddResult as one put and one insert, and nothing else: what gRPC, Python and the engines cost.

bare_results DSN ENDPOINT BUCKET     prints its port
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from typing import Any

import asyncpg
import grpc
import uvloop
from asgard_server.store.s3_lines import Lines
from asgard_server.store.s3_puts import Puts
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Credentials, Endpoint
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

_NEW = ("if-none-match", "*")
_CONNECTIONS = 8


class _Bare:
    """Makes names, and keeps what results hold under them."""

    def __init__(self, pool: Any, puts: Puts) -> None:
        self._pool = pool
        self._puts = puts
        self._names = (f"{os.getpid()}-{number}" for number in itertools.count())

    async def create_run(self, request: pb.CreateRunRequest, context: Any) -> pb.CreateRunResponse:
        return pb.CreateRunResponse(run=pb.Run(run_id=next(self._names)))

    async def add_result(self, request: pb.AddResultRequest, context: Any) -> pb.AddResultResponse:
        name, data = next(self._names), request.result.data
        if await self._puts.put(f"bare/{name}.json", data * 5, _NEW) is None:
            raise RuntimeError("the store is not asked as RunService asks it")
        await self._pool.execute("INSERT INTO bare VALUES ($1, $2)", name, data)
        return pb.AddResultResponse()

    def handler(self) -> grpc.GenericRpcHandler:
        """Both of them as methods of RunService."""
        behaviours: dict[str, tuple[Any, Any, Any]] = {
            "CreateRun": (self.create_run, pb.CreateRunRequest, pb.CreateRunResponse),
            "AddResult": (self.add_result, pb.AddResultRequest, pb.AddResultResponse),
        }
        return grpc.method_handlers_generic_handler(
            "gimle.asgard.v1.RunService",
            {
                name: grpc.unary_unary_rpc_method_handler(
                    behaviour, asked.FromString, answered.SerializeToString
                )
                for name, (behaviour, asked, answered) in behaviours.items()
            },
        )


async def _serve(dsn: str, endpoint: str, bucket: str) -> None:
    keys = Credentials(ACCESS_KEY, SECRET_KEY)
    puts = Puts(
        Place(bucket, "bare"), Lines(bucket, Endpoint.parse(endpoint), "us-east-1", keys), 8.0
    )
    async with asyncpg.create_pool(dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS bare (id text PRIMARY KEY, body bytea)")
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((_Bare(pool, puts).handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:4]))
