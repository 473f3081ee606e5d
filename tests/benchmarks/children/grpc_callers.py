"""Callers of a gRPC service: each line of input is a round, answered by its calls a second."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from itertools import count
from secrets import token_hex

import grpc
import uvloop
from gimle.asgard.v1 import blob_service_pb2 as blob_pb
from gimle.asgard.v1 import blob_service_pb2_grpc, run_service_pb2_grpc
from gimle.asgard.v1 import run_service_pb2 as pb
from google.protobuf.empty_pb2 import Empty

CALLERS = 8
FILES = tuple(f"file-{number}.json" for number in range(10))


async def _main(kind: str, port: str, seconds: float) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = {"create": _create, "grants": _grants, "echo": _echo}[kind](channel)
        await asyncio.gather(*(call(0) for _ in range(CALLERS)))
        loop = asyncio.get_running_loop()
        print(0, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(await _round(call, seconds), flush=True)


async def _round(call: Callable[[int], Awaitable[object]], seconds: float) -> float:
    began = time.perf_counter()
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await call(done)
            done += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (time.perf_counter() - began)


def _echo(channel: grpc.aio.Channel) -> Callable[[int], Awaitable[object]]:
    method = channel.unary_unary(
        "/bench.Echo/Echo",
        request_serializer=Empty.SerializeToString,
        response_deserializer=Empty.FromString,
    )

    async def call(number: int) -> object:
        return await method(Empty())

    return call


def _create(channel: grpc.aio.Channel) -> Callable[[int], Awaitable[object]]:
    stub = run_service_pb2_grpc.RunServiceStub(channel)

    async def call(number: int) -> object:
        request = pb.CreateRunRequest(
            name=f"bench {number}",
            equation="f(t) = int(f, t) = f",
            metadata=b'{"seed":7,"solver":"rk4"}',
        )
        return await stub.CreateRun(request)

    return call


def _grants(channel: grpc.aio.Channel) -> Callable[[int], Awaitable[object]]:
    stub = blob_service_pb2_grpc.BlobServiceStub(channel)
    mark = token_hex(8)

    async def call(number: int) -> object:
        job = next(jobs)
        uploads = [
            blob_pb.NewUpload(
                name=f"jobs/{mark}/{job}/{name}",
                size_bytes=1_000_000 + place,
                sha256=sha256(f"{mark} {job} {name}".encode()).hexdigest(),
                content_type="application/json",
            )
            for place, name in enumerate(FILES)
        ]
        return await stub.CreateUploads(blob_pb.CreateUploadsRequest(uploads=uploads))

    jobs = count()
    return call


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
