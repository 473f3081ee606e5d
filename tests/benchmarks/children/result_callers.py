"""Callers that add small results: each line of input is a round, answered by its calls a second.

result_callers ADDRESSES RUNS SECONDS     through gRPC, each call at the next replica
result_callers floor DSN ENDPOINT/BUCKET SECONDS     an insert and a put, and nothing else
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import asyncpg
import grpc
import obstore
import uvloop
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc
from gimle.asgard.v1.new_result_pb2 import NewResult
from obstore.store import S3Store

from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

CALLERS = 8
DATA = b'{"x":[0,0.5,1],"computed":[1.5,2.5,3.5]}'
OPTIONS = (("grpc.service_config", '{"loadBalancingPolicy":"round_robin"}'),)
Call = Callable[[int], Awaitable[object]]


async def _serve(calls: list[Call], seconds: float) -> None:
    """One caller for each of `calls`."""
    for call in calls:
        await call(0)
    loop = asyncio.get_running_loop()
    print(0, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(await _round(calls, seconds), flush=True)


async def _round(calls: list[Call], seconds: float) -> list[float]:
    """Calls, and the seconds they took."""
    began = time.perf_counter()
    done = 0

    async def caller(call: Call) -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await call(done)
            done += 1

    await asyncio.gather(*map(caller, calls))
    return [done, time.perf_counter() - began]


async def _adding(addresses: str, runs: int, seconds: float) -> None:
    async with grpc.aio.insecure_channel(f"ipv4:{addresses}", options=OPTIONS) as channel:
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        made = [(await stub.CreateRun(pb.CreateRunRequest(name="bench"))).run for _ in range(runs)]

        def to(run_id: str) -> Call:
            async def add(_: int) -> object:
                result = NewResult(result_type="Solution1D", data=DATA)
                return await stub.AddResult(pb.AddResultRequest(run_id=run_id, result=result))

            return add

        await _serve([to(made[n % runs].run_id) for n in range(CALLERS)], seconds)


async def _floor(dsn: str, place: str, seconds: float) -> None:
    endpoint, _, bucket = place.rpartition("/")
    store = S3Store(
        bucket,
        endpoint=endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    async with asyncpg.create_pool(dsn, min_size=CALLERS, max_size=CALLERS) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS bench (id text PRIMARY KEY, body bytea)")

        def named(caller: int) -> Call:
            made = 0

            async def save(_: int) -> object:
                nonlocal made
                made += 1
                name = f"{time.time_ns()}-{caller}-{made}"
                await obstore.put_async(store, f"floor/{name}.json", DATA * 5, use_multipart=False)
                return await pool.execute("INSERT INTO bench VALUES ($1, $2)", name, DATA)

            return save

        await _serve([named(n) for n in range(CALLERS)], seconds)


if __name__ == "__main__":
    if sys.argv[1] == "floor":
        uvloop.run(_floor(sys.argv[2], sys.argv[3], float(sys.argv[4])))
    else:
        uvloop.run(_adding(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
