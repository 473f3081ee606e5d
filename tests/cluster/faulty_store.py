"""An object store that lies, now and then: a proxy before a true one, one request a connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, Literal

from tests.engines.s3_store import Store

Fault = Literal["", "half", "short", "gone", "late", "slow"]
SLOW_S = 2.0

_NO_KEY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"""


class FaultyStore:
    """`store` as `a_cluster` takes it, reached through the proxy. `fault` says how it lies.

    half: a listing breaks off in the middle. short: a listing ends in order, and names half of
    what is there. gone: every listing is empty and no object is found, as where another volume
    is mounted. late: the next document that is put is on its way until `arrive`, and its sender
    never hears of it. slow: what copies is answered after SLOW_S. `lies` counts.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.port = 0
        self.fault: Fault = ""
        self.lies = 0
        self._late: tuple[bytes, bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.port}"

    async def arrive(self) -> int:
        """Let what is late arrive; answer the status that nobody hears."""
        assert self._late is not None, "nothing is late"
        answer = await self._asked(*self._late)
        self._late = None
        return int(answer.split(b" ")[1])

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which it is found: the proxy's address."""
        return self.store.variables | {"ASGARD_S3_ENDPOINT": self.endpoint}

    def bucket(self) -> str:
        """Make a new bucket; answer its name."""
        return self.store.bucket()

    def client(self) -> Any:
        """A client of the true store."""
        return self.store.client()

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Every key that is truly there."""
        return self.store.keys(bucket, prefix)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request."""
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            if self.fault == "late" and head.startswith(b"PUT ") and b".json " in head:
                self.fault, self._late = "", (head, body)
                self.lies += 1
                await reader.read()  # until its sender has lost patience
                return
            if self.fault == "slow" and b"\r\nx-amz-copy-source:" in head.lower():
                self.lies += 1
                await asyncio.sleep(SLOW_S)
            writer.write(self._lied(head, await self._asked(head, body)))
            await writer.drain()

    async def _asked(self, head: bytes, body: bytes) -> bytes:
        """The true store's answer. The host stays as it was signed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.store.port)
        try:
            once = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
            writer.write(once[:-2] + b"Connection: close\r\n\r\n" + body)
            return await reader.read()
        finally:
            writer.close()

    def _lied(self, head: bytes, answer: bytes) -> bytes:
        verb, target = head.split(b" ")[:2]
        if not self.fault or verb not in (b"GET", b"HEAD"):
            return answer
        top, _, body = answer.partition(b"\r\n\r\n")
        listing = b"list-type=2" in target
        if listing and self.fault == "half":
            self.lies += 1
            return top + b"\r\n\r\n" + body[: len(body) // 2]
        if listing and self.fault in ("short", "gone"):
            self.lies += 1
            items = re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)
            for item in items if self.fault == "gone" else items[::2]:
                body = body.replace(item, b"")
            return _whole(b"200 OK", body)
        if not listing and self.fault == "gone":
            self.lies += 1
            return _whole(b"404 Not Found", b"" if verb == b"HEAD" else _NO_KEY)
        return answer


def _whole(status: bytes, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, len(body), body)
    )


@asynccontextmanager
async def faulty(store: Store) -> AsyncIterator[FaultyStore]:
    """A store that tells the truth until `fault` is set."""
    made = FaultyStore(store)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0, limit=1 << 20)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
