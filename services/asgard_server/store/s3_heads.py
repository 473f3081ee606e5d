"""HEAD of many objects, lists of some, by connections that are kept: a tenth of boto3's work.

Whoever completes thousands of uploads asks that often. Only a plain 200 is answered from here;
whatever else a store says, or does not say, the patient client of `S3Bytes` is asked for.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Endpoint, Signer

from asgard_server.store.s3_keys import credentials_of

_KEPT = 16
_PATIENCE_S = 5.0
# A store that cannot be reached so (through a proxy, by an authority that only boto3 knows) is
# not tried each time.
_REST_S = 10.0
_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}
_LINE = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")
_AMAZON = re.compile(r"https://s3[.-].*\.amazonaws\.com(\.cn)?")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Heads:
    """Asks one store, of one bucket. To be used from one event loop at a time."""

    def __init__(self, place: Place, signer: Signer) -> None:
        self._place = place
        self._signer = signer
        parts = urlsplit(signer.sign("HEAD", place.bucket, "key")[0])
        self._host, self._netloc = parts.hostname or "", parts.netloc
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._idle: list[Streams] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rests_until = 0.0

    async def head(self, path: str) -> dict[str, str] | None:
        """The headers of an object that is there; None says nothing."""
        url, headers = self._signer.sign(
            "HEAD", self._place.bucket, self._place.key(path), headers=_CHECKSUMS
        )
        answer = await self._answered("HEAD", url, headers)
        return None if answer is None else answer[0]

    async def sizes(self, prefix: str) -> dict[str, int] | None:
        """The sizes of objects whose keys begin so, by whole keys; None says nothing.

        Of more than a thousand those are told that come first.
        """
        query = {"list-type": "2", "prefix": prefix}
        url, headers = self._signer.sign("GET", self._place.bucket, query=query)
        answer = await self._answered("GET", url, headers)
        if answer is None:
            return None
        try:
            listing = ElementTree.fromstring(answer[1])  # noqa: S314 - of the store that is ours
        except ElementTree.ParseError:
            return None
        sizes = {}
        for item in listing.iterfind("{*}Contents"):
            sizes[item.findtext("{*}Key") or ""] = int(item.findtext("{*}Size") or -1)
        return sizes

    async def _answered(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[dict[str, str], bytes] | None:
        """The headers and the body of a plain 200; None for everything else."""
        if time.monotonic() < self._rests_until:
            return None
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._idle = asyncio.get_running_loop(), []
        target = url[url.index("/", 8) :]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{method} {target} HTTP/1.1\r\nhost: {self._netloc}\r\n{lines}\r\n"
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head, body = await self._asked(request.encode("latin-1"), whole=method != "HEAD")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self._rests_until = time.monotonic() + _REST_S
            return None
        if body is None or not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            return None
        return _headers(head), body

    async def close(self) -> None:
        """Close all connections."""
        idle, self._idle = self._idle, []
        for _, writer in idle:
            writer.transport.abort()
        await asyncio.sleep(0)  # they are closed by the loop's next turn

    async def _asked(self, request: bytes, *, whole: bool) -> tuple[bytes, bytes | None]:
        while self._idle:
            streams = self._idle.pop()
            try:
                return await self._over(streams, request, whole)
            except (OSError, asyncio.IncompleteReadError):
                continue  # closed by the other side while it was idle
        streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        return await self._over(streams, request, whole)

    async def _over(
        self, streams: Streams, request: bytes, whole: bool
    ) -> tuple[bytes, bytes | None]:
        """The head of an answer and, if it is wanted whole, a body whose length is told."""
        reader, writer = streams
        kept = False
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body: bytes | None = b""
            if whole:
                length = _headers(head).get("content-length", "")
                body = await reader.readexactly(int(length)) if length.isdigit() else None
            closes = b"\r\nconnection: close" in head.lower()
            kept = body is not None and not closes and len(self._idle) < _KEPT
            return head, body
        finally:
            if kept:
                self._idle.append(streams)
            else:
                writer.transport.abort()


def _headers(head: bytes) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1").strip()
        for name, value in _LINE.findall(head)
    }


def heads_of(place: Place, client: Any) -> Heads | None:
    """Heads of the store that a client of boto3 asks; None where nobody says who signs."""
    address = client.meta.endpoint_url
    style: Any = "virtual" if _AMAZON.match(address) else "path"
    found = credentials_of(place)
    if found is None:
        return None
    lend = found if callable(found) else lambda: found
    signer = Signer(Endpoint.parse(address, style=style), lend, region=client.meta.region_name)
    return Heads(place, signer)
