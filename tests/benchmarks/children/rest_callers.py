"""Callers of REST: each line of input is a round, answered by what it creates a second.

Each has a connection of its own, kept alive; a request leaves in one segment and acknowledgements
at once, so that nobody waits 40 ms for one that is held back.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count

import orjson
import uvloop

CALLERS = 8
REPORT = {"summary": "Loss converged at step 12000", "key_findings": ["a", "b"], "lr": 1e-3}
PARAMETERS = {"lr": "0.001", "layers": "12", "optimizer": "adam"}

Create = Callable[["Caller", int], Awaitable[None]]


class Caller:
    """One connection."""

    def __init__(
        self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._shown = f"authorization: Bearer {key}\r\n" if key else ""
        self._reader, self._writer = reader, writer
        self._socket: socket.socket = writer.get_extra_info("socket")

    @classmethod
    async def connect(cls, port: int, key: str) -> Caller:
        """Connect, for who shows an API key, if any."""
        return cls(key, *await asyncio.open_connection("127.0.0.1", port))

    async def ask(
        self, method: str, path: str, body: bytes, kind: str = "application/json"
    ) -> bytes:
        """One request. Raises RuntimeError unless the answer is a success."""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\n{self._shown}\r\n"
        )
        # A server that answers in two segments waits for the first to be acknowledged.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._writer.write(head.encode() + body)
        status = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(status.partition("content-length:")[2].partition("\r\n")[0])
        answer = await self._reader.readexactly(length)
        if " 200 " not in status[:20]:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return answer


async def _asset(caller: Caller, number: int) -> None:
    body = {"asset_type": "takeaways_report", "content": REPORT, "name": f"report {number}"}
    await caller.ask("POST", "/v1/assets", orjson.dumps(body))


async def _mlflow(caller: Caller, number: int) -> None:
    """A run with parameters and a small text artifact, as its client makes one."""
    now = int(time.time() * 1e3)
    asked = {"experiment_id": "0", "start_time": now, "run_name": f"run {number}"}
    made = orjson.loads(
        await caller.ask("POST", "/api/2.0/mlflow/runs/create", orjson.dumps(asked))
    )
    run_id = made["run"]["info"]["run_id"]
    params = [{"key": key, "value": value} for key, value in PARAMETERS.items()]
    batch = {"run_id": run_id, "params": params}
    await caller.ask("POST", "/api/2.0/mlflow/runs/log-batch", orjson.dumps(batch))
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/report.json"
    await caller.ask("PUT", path, orjson.dumps(REPORT), "application/octet-stream")


async def _main(kind: str, port: int, seconds: float, key: str) -> None:
    create: Create = {"asset": _asset, "mlflow": _mlflow}[kind]
    numbers = count()
    callers = [await Caller.connect(port, key) for _ in range(CALLERS)]
    await asyncio.gather(*(create(each, next(numbers)) for each in callers))
    loop = asyncio.get_running_loop()
    print(0, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        began = time.perf_counter()
        done = 0

        async def work(caller: Caller, until: float = began + seconds) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await create(caller, next(numbers))
                done += 1

        await asyncio.gather(*(work(each) for each in callers))
        print(done / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *(sys.argv[4:] or [""])))
