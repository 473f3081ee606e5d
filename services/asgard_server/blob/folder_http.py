"""What moves the bytes of a folder: PUT and GET of URLs that were granted, with S3's answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from gimle.asgard.core.errors import AsgardError, StorageFullError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_grants import PREFIX, Allowed, FolderGrants, RefusedError
from asgard_server.store.folder_incoming import Incoming

_CODES = {
    HTTPStatus.BAD_REQUEST: "IncompleteBody",
    HTTPStatus.FORBIDDEN: "AccessDenied",
    HTTPStatus.NOT_FOUND: "NoSuchKey",
    HTTPStatus.LENGTH_REQUIRED: "MissingContentLength",
    HTTPStatus.PRECONDITION_FAILED: "PreconditionFailed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "EntityTooLarge",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailable",
    HTTPStatus.INSUFFICIENT_STORAGE: "XMinioStorageFull",
}

# Bytes handed to a thread at a time, to be hashed and written there.
_PIECE = 1 << 20
# Read whole while it is looked for: a thread is asked once for a small file, instead of five times.
_AT_ONCE = 1 << 16


class BytesEndpoint:
    """The endpoint under PREFIX."""

    def __init__(self, held: FolderBytes, grants: FolderGrants) -> None:
        self._bytes = held
        self._grants = grants

    def route(self) -> Route:
        """The route to be mounted in the page's application."""
        return Route(f"{PREFIX}{{key:path}}", self.serve, methods=["GET", "HEAD", "PUT"])

    async def serve(self, request: Request) -> Response:
        """Serve one granted request."""
        key = request.path_params["key"]
        try:
            allowed = self._grants.allowed(request.method, key, request.url.query)
        except RefusedError as error:
            return _refused(HTTPStatus.FORBIDDEN, str(error))
        # What is refused before its bytes are read is cut off, as S3 stores do: a client that
        # asks before it sends (Expect: 100-continue) reads the answer.
        try:
            if allowed.method == "PUT":
                return await self._put(request, allowed)
            return await self._get(request, allowed)
        except ClientDisconnect:
            return Response(status_code=499)
        except StorageFullError as error:
            return _refused(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        except AsgardError as error:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    async def _put(self, request: Request, allowed: Allowed) -> Response:
        query = allowed.query
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return _refused(HTTPStatus.LENGTH_REQUIRED, "say Content-Length")
        if "size" in query and length != query["size"]:
            return _refused(HTTPStatus.BAD_REQUEST, f"this URL is for {query['size']} bytes")
        if "most" in query and int(length) > int(query["most"]):
            return _refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"this URL is for at most {query['most']}"
            )
        if request.headers.get("content-type", query.get("content-type")) != query.get(
            "content-type", request.headers.get("content-type")
        ):
            return _refused(HTTPStatus.FORBIDDEN, f"send Content-Type {query['content-type']}")
        taking = await self._bytes.in_pool(self._bytes.begin, int(length))
        try:
            return await self._taken(request, allowed, taking)
        finally:
            await self._bytes.in_pool(taking.close)

    async def _taken(self, request: Request, allowed: Allowed, taking: Incoming) -> Response:
        await self._take(request, taking)
        if str(taking.size_bytes) != request.headers["content-length"]:
            return _refused(HTTPStatus.BAD_REQUEST, "fewer bytes came than were announced")
        if allowed.query.get("sha256", taking.sha256()) != taking.sha256():
            return _refused(HTTPStatus.BAD_REQUEST, "these bytes have another SHA-256", "BadDigest")
        if (refusal := await self._bytes.in_pool(self._place, taking, allowed)) is not None:
            return refusal
        return Response(status_code=200, headers={"etag": f'"{taking.sha256()}"'})

    async def _take(self, request: Request, taking: Incoming) -> None:
        async for piece in _pieces(request.stream()):
            await self._bytes.in_pool(taking.write, piece)

    def _place(self, taking: Incoming, allowed: Allowed) -> Response | None:
        """Let the bytes appear; answer why they may not."""
        query = allowed.query
        if "upload" in query:
            part = self._bytes.part_path(query["upload"], int(query["number"]), query["sha256"])
            try:
                taking.place_inside(part, once=False)
            except FileNotFoundError:
                return _refused(HTTPStatus.NOT_FOUND, "the upload has ended")
        elif not taking.place(self._bytes.path(allowed.key), once="once" in query):
            return _refused(HTTPStatus.PRECONDITION_FAILED, "the bytes are already there")
        return None

    async def _get(self, request: Request, allowed: Allowed) -> Response:
        query = allowed.query
        if "range" in query and request.headers.get("range") != query["range"]:
            return _refused(HTTPStatus.FORBIDDEN, f"send Range {query['range']}")
        path = self._bytes.path(allowed.key)
        whole = request.method == "GET" and "range" not in request.headers
        there = await asyncio.to_thread(_looked_at, path, _AT_ONCE if whole else -1)
        if there is None:
            return _refused(HTTPStatus.NOT_FOUND, "the bytes are gone")
        stat, body = there
        lasts = "no-cache" if "changes" in query else "private, max-age=31536000, immutable"
        # Not one that looks like an MD5, as Starlette makes it: clients of S3 compare those.
        headers = {"cache-control": lasts, "etag": f'"{allowed.key}"'}
        if "changes" in query:
            headers["etag"] = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        if "save-as" in query:
            name = quote(query["save-as"], safe="")
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{name}"
        # What lies there was uploaded: a browser must not run it as a page of this origin.
        headers["content-security-policy"] = "sandbox; default-src 'none'"
        headers["x-content-type-options"] = "nosniff"
        if body is None:
            return FileResponse(
                path, headers=headers, media_type=query["content-type"], stat_result=stat
            )
        headers["accept-ranges"] = "bytes"
        headers["last-modified"] = formatdate(stat.st_mtime, usegmt=True)
        return Response(body, headers=headers, media_type=query["content-type"])


def _looked_at(path: Path, most: int) -> tuple[os.stat_result, bytes | None] | None:
    """What there is of a file, with its bytes if they are so many at most. None without a file."""
    try:
        with path.open("rb", buffering=0) as file:
            stat = os.fstat(file.fileno())
            return stat, file.readall() if stat.st_size <= most else None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces: a thread is asked less often."""
    waiting = bytearray()
    async for chunk in stream:
        waiting += chunk
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting = bytearray()
    if waiting:
        yield bytes(waiting)


def _refused(status: HTTPStatus, message: str, code: str = "") -> Response:
    """An answer as S3 stores give it: who speaks to those reads ours as well."""
    body = (
        f"<Error><Code>{code or _CODES[status]}</Code><Message>{escape(message)}</Message></Error>"
    )
    return Response(body, status, media_type="application/xml")
