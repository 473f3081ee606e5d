"""A bare grpc.aio server that sends messages from memory to whoever watches.

Each line of input is the path of a JSON file, {"messages": [hex], "times": [seconds]}: they are
sent to all, at those times, or at once where there are none. It says its port first.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import orjson
import uvloop


class Player:
    """The messages so far, and everybody who has not had them yet."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._moved = asyncio.Event()

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """One watcher: what comes from now on, behind one empty message."""
        at = len(self._messages)
        yield b""
        while True:
            while at < len(self._messages):
                at += 1
                yield self._messages[at - 1]
            await self._moved.wait()

    async def play(self, messages: list[bytes], times: list[float]) -> None:
        """Send messages, at their times counted from now."""
        began = asyncio.get_running_loop().time()
        for number, message in enumerate(messages):
            if times:
                wait = began + times[number] - asyncio.get_running_loop().time()
                if wait > 0:
                    await asyncio.sleep(wait)
            self._messages.append(message)
            self._moved.set()
            self._moved.clear()


async def _serve() -> None:
    player = Player()
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    method: Any = grpc.unary_stream_rpc_method_handler(player.watch)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Fanout", {"Watch": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = orjson.loads(Path(line.strip()).read_bytes())
        await player.play([bytes.fromhex(each) for each in asked["messages"]], asked["times"])


if __name__ == "__main__":
    uvloop.run(_serve())
