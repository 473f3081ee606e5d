"""Bodies on their way out: ETag and 304, gzip, headers. Event streams do not pass here."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from starlette.responses import Response

from asgard_server.gateway.request import Request

JSON = "application/json"
COMPRESS_FROM = 1_024
# Work of more than about a millisecond leaves the loop; zlib and hashlib release the interpreter.
INLINE_BYTES = 32_768
_GZIP_LEVEL = 5

_ENCODING = re.compile(r"(gzip|x-gzip|br|\*)(?:\s*;\s*q=([0-9.]+))?", re.IGNORECASE)


@dataclass(slots=True)
class Answer:
    """A body that may be served many times: its ETag and gzip form are computed once.

    `etag` is an entity tag with its quotes; empty means that the body's digest is it.
    `encoded` holds the forms that exist already, by content coding.
    """

    body: bytes
    content_type: str = JSON
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    encoded: dict[str, bytes] = field(default_factory=dict)
    packing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def compresses(self) -> bool:
        """Say whether gzip is worth it."""
        kind = self.content_type.partition(";")[0]
        return len(self.body) > COMPRESS_FROM and (
            kind.startswith("text/") or kind.endswith(("json", "javascript", "+xml", "manifest"))
        )


async def serve(request: Request, answer: Answer) -> Response:
    """Make the response that a request deserves: 304, gzip, or the body as it is."""
    headers = {"cache-control": "no-cache", **answer.headers}
    if answer.compresses:
        headers["vary"] = "accept-encoding"
    if request.method in ("GET", "HEAD") and answer.status == 200:
        if not answer.etag:
            answer.etag = await _digest(answer.body)
        headers["etag"] = answer.etag
        if _matches(request.header(b"if-none-match"), answer.etag):
            return Response(None, 304, headers)
    body = answer.body
    if answer.compresses:
        for coding in _accepted(request.header(b"accept-encoding")):
            if coding == "gzip" and coding not in answer.encoded:
                await _pack(answer)
            if coding in answer.encoded:
                body = answer.encoded[coding]
                headers["content-encoding"] = coding
                break
    response = Response(body, answer.status, headers)
    response.headers["content-type"] = answer.content_type
    return response


async def _digest(body: bytes) -> str:
    if len(body) <= INLINE_BYTES:
        return etag_of(body)
    return await asyncio.to_thread(etag_of, body)


def etag_of(body: bytes) -> str:
    """Weak entity tag of a body: weak, because its gzip form carries the same one."""
    return f'W/"{blake2b(body, digest_size=12).hexdigest()}"'


def _matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison, as If-None-Match asks for."""
    if not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/") in {
        tag.strip().removeprefix("W/") for tag in if_none_match.split(",")
    }


def _accepted(accept_encoding: str) -> list[str]:
    """Content codings we may use, the best first."""
    weights: dict[str, float] = {}
    for part in accept_encoding.split(","):
        found = _ENCODING.fullmatch(part.strip())
        if found:
            try:
                weight = float(found[2]) if found[2] else 1.0
            except ValueError:
                weight = 0.0
            name = found[1].lower().removeprefix("x-")
            weights["gzip" if name == "*" and "gzip" not in weights else name] = weight
    return [c for c in ("br", "gzip") if weights.get(c, 0.0) > 0.0]


async def _pack(answer: Answer) -> None:
    """Make the gzip form, once for all who wait for it."""
    if len(answer.body) <= INLINE_BYTES:
        answer.encoded["gzip"] = gzip(answer.body)
        return
    async with answer.packing:
        if "gzip" not in answer.encoded:
            answer.encoded["gzip"] = await asyncio.to_thread(gzip, answer.body)


def gzip(body: bytes, level: int = _GZIP_LEVEL) -> bytes:
    """Compress, the same bytes for the same body (no time in the header)."""
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
