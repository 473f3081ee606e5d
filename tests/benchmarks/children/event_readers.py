"""Many readers of /api/updates: tells when each of them saw each object.

Arguments: port, readers. Says {"connected": n}; then for each line of input (an object's
id) answers {"seen": [seconds since 1970, one for each reader], "lost": how many saw nothing}.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import orjson
import uvloop

WAIT_S = 20.0
REQUEST = (
    b"GET /api/updates HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Accept: text/event-stream\r\nAccept-Encoding: identity\r\n\r\n"
)


class Readers:
    """All readers; what each saw of the object looked for now."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.connected = asyncio.Semaphore(0)
        self.seen: list[dict[bytes, float]] = [{} for _ in range(count)]
        self.some = asyncio.Event()

    async def read(self, number: int, port: int) -> None:
        """Follow one stream until it ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        rest = b""
        while True:
            chunk = await reader.read(65_536)
            now = time.time()
            if not chunk:
                raise RuntimeError(f"stream {number} ended")
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and b'"connected"' in line:
                    self.connected.release()
                elif line.startswith(b"data:"):
                    event = orjson.loads(line[5:])
                    self.seen[number].setdefault(event.get("object_id", "").encode(), now)
                    self.some.set()

    async def wait_for(self, object_id: bytes) -> list[float | None]:
        """When each reader saw the object, None for those that never did."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if all(object_id in seen for seen in self.seen):
                break
            self.some.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.some.wait(), 0.2)
        return [seen.get(object_id) for seen in self.seen]


async def _main(port: int, count: int) -> None:
    readers = Readers(count)
    async with asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(readers.read(number, port)) for number in range(count)]
        for _ in range(count):
            await readers.connected.acquire()
        print(f'{{"connected":{count}}}', flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            times = await readers.wait_for(line.strip().encode())
            seen = [when for when in times if when is not None]
            answer = {"seen": seen, "lost": count - len(seen)}
            print(orjson.dumps(answer).decode(), flush=True)
        for task in reading:
            task.cancel()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2])))
