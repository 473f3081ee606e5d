"""Browsers that follow /api/updates, and whether each saw every change once and in order.

An event's id is a token of each log, and a token ends with the revision it stands for: what a
watcher has seen is compared with the change log itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from array import array
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

from tests.cluster.truth import Logged

# As EventSource comes back: `retry:` of the stream says 1,000 ms; tests have less patience.
RETRY_S = 0.2
CONNECTED_WITHIN_S = 30.0


class Seen(NamedTuple):
    """An event as it came."""

    revision: int
    type: str
    object_type: str
    object_id: str


class Watcher:
    """Follows one of `urls` until it is stopped, and comes back with the last id it has seen.

    `revisions` are those it was told of, in the order in which they came; what it was told is
    kept unless `keep` says otherwise, for many watchers of many changes.
    """

    def __init__(self, urls: Sequence[str], *, keep: bool = True) -> None:
        self.revisions = array("q")
        self._keep = keep
        self.last_id = ""
        self.connected = asyncio.Event()
        self.connections = 0
        self.paused = asyncio.Event()
        self.paused.set()
        self._urls = urls
        self._writer: asyncio.StreamWriter | None = None
        self._blocks: list[bytes] = []
        self._bell = asyncio.Event()

    async def run(self, receive_buffer: int = 0) -> None:
        """Follow until cancelled."""
        while True:
            url = urlsplit(self._urls[self.connections % len(self._urls)])
            self.connections += 1
            with suppress(OSError, EOFError, asyncio.IncompleteReadError, ValueError):
                await self._follow(url.hostname or "", url.port or 80, receive_buffer)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, host: str, port: int, receive_buffer: int) -> None:
        raw = socket.socket()
        raw.setblocking(False)
        if receive_buffer:  # before it connects, or the window is what it was
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(raw, (host, port))
        except BaseException:
            raw.close()
            raise
        limit = receive_buffer or 1 << 16
        reader, writer = await asyncio.open_connection(sock=raw, limit=limit)
        self._writer = writer
        try:
            last = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
            writer.write(
                f"GET /api/updates HTTP/1.1\r\nHost: {host}:{port}\r\n"
                f"Accept: text/event-stream\r\n{last}\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise EOFError
            rest = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *blocks, rest = rest.split(b"\n\n")
                self._take(blocks)
                await self.paused.wait()
        finally:
            writer.close()

    def cut(self) -> None:
        """Break its connection, as a network does."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _take(self, blocks: list[bytes]) -> None:
        for block in blocks:
            if block.startswith(b":"):
                continue
            for line in block.split(b"\n"):
                if line.startswith(b"id: "):
                    self.last_id = line[4:].decode()
            if b'"connected"' in block:
                self.connected.set()
                if self._blocks:
                    continue
            elif b'"type":"reset"' in block and not self.revisions:
                # The index was made just before, and its gateway hears of that now: it begins here.
                self._blocks = [block]
                continue
            elif self._blocks:
                self.revisions.append(self.at)
            if self._keep or not self._blocks:
                self._blocks.append(block)
        self._bell.set()

    @property
    def began(self) -> int:
        """The revision at which it was first connected."""
        return _seen(self._blocks[0]).revision if self._blocks else -1

    @property
    def at(self) -> int:
        """The revision behind which it would go on."""
        return _revision(self.last_id)

    def seen(self) -> list[Seen]:
        """All events after the first connection, in the order in which they came."""
        return [_seen(block) for block in self._blocks[1:]]

    async def reach(self, revision: int, seconds: float = 60.0) -> None:
        """Wait until it has seen the change of this revision."""
        deadline = time.monotonic() + seconds
        while self.at < revision:
            left = deadline - time.monotonic()
            assert left > 0, f"a watcher stands at {self.at}, not {revision}: {self.seen()[-3:]}"
            self._bell.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, 1.0)):
                    await self._bell.wait()


def _revision(event_id: str) -> int:
    token = event_id.partition(".")[0]  # of runs; behind it is that of jobs
    if not token:
        return -1
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    return int(struct.unpack(">q", raw[-8:])[0])


def _seen(block: bytes) -> Seen:
    token, data = "", {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name == b"id":
            token = value.decode()
        elif name == b"data":
            data = orjson.loads(value)
    return Seen(
        _revision(token), data["type"], data.get("object_type", ""), data.get("object_id", "")
    )


@asynccontextmanager
async def watchers(
    count: int, *urls: str, receive_buffer: int = 0, keep: bool = True
) -> AsyncIterator[list[Watcher]]:
    """So many watchers spread over gateways, all connected; they end with the block."""
    turned = [[*urls[n % len(urls) :], *urls[: n % len(urls)]] for n in range(count)]
    made = [Watcher(each, keep=keep) for each in turned]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watcher.run(receive_buffer)) for watcher in made]
        async with asyncio.timeout(CONNECTED_WITHIN_S):
            for watcher in made:
                await watcher.connected.wait()
        try:
            yield made
        finally:
            for task in running:
                task.cancel()


async def all_saw_everything(
    made: Sequence[Watcher], log: Sequence[Logged], seconds: float = 60.0
) -> None:
    """Wait until each has seen the newest entry of the log; assert each saw all once, in order."""
    head = log[-1].revision if log else 0
    of = {entry.revision: entry for entry in log}
    for number, watcher in enumerate(made):
        await watcher.reach(head, seconds)
        seen = watcher.seen()
        resets = [each for each in seen if each.type == "reset"]
        assert not resets, f"watcher {number} was reset: {resets}"
        revisions = [each.revision for each in seen if each.revision <= head]
        expected = list(range(watcher.began + 1, head + 1))
        assert revisions == expected, _difference(number, revisions, expected)
        for each in seen:
            entry = of.get(each.revision)
            if entry is not None:
                assert (each.object_type, each.object_id) == (entry.kind, entry.id), each
                assert each.type == "delete" if entry.gone else True, each


def wrong(revisions: Sequence[int], expected: Sequence[int]) -> tuple[list[int], list[int]]:
    """Revisions that are missing, and those that came more than once."""
    times = Counter(revisions)
    return [e for e in expected if not times[e]], [e for e, count in times.items() if count > 1]


def _difference(number: int, revisions: list[int], expected: list[int]) -> str:
    missing, doubled = wrong(revisions, expected)
    return f"watcher {number}: missing {missing[:10]}, doubled {doubled[:10]}, or out of order"
