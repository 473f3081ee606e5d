"""What moves the bytes of a folder: PUT and GET of URLs that were granted, with S3's answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from urllib.parse import quote

from gimle.asgard.core.errors import AsgardError, StorageFullError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from asgard_server.store.folder_bytes import FolderBytes, Incoming
from asgard_server.store.folder_grants import PREFIX, Allowed, FolderGrants, RefusedError

# Bytes handed to a thread at a time, to be hashed and written there.
_PIECE = 1 << 20


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
            return _problem(HTTPStatus.FORBIDDEN, str(error))
        # What is refused before its bytes are read is cut off, as S3 stores do: a client that
        # asks before it sends (Expect: 100-continue) reads the answer.
        try:
            if allowed.method == "PUT":
                return await self._put(request, allowed)
            return await self._get(request, allowed)
        except ClientDisconnect:
            return Response(status_code=499)
        except StorageFullError as error:
            return _problem(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        except AsgardError as error:
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    async def _put(self, request: Request, allowed: Allowed) -> Response:
        query = allowed.query
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return _problem(HTTPStatus.LENGTH_REQUIRED, "say Content-Length")
        if "size" in query and length != query["size"]:
            return _problem(HTTPStatus.BAD_REQUEST, f"this URL is for {query['size']} bytes")
        if "most" in query and int(length) > int(query["most"]):
            return _problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"this URL is for at most {query['most']}"
            )
        if request.headers.get("content-type", query.get("content-type")) != query.get(
            "content-type", request.headers.get("content-type")
        ):
            return _problem(HTTPStatus.FORBIDDEN, f"send Content-Type {query['content-type']}")
        with self._bytes.incoming() as taking:
            await self._take(request, taking)
            if str(taking.size_bytes) != length:
                return _problem(HTTPStatus.BAD_REQUEST, "fewer bytes came than were announced")
            if "sha256" in query and taking.sha256() != query["sha256"]:
                return _problem(HTTPStatus.BAD_REQUEST, "these bytes have another SHA-256")
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
                return _problem(HTTPStatus.NOT_FOUND, "the upload has ended")
        elif not taking.place(self._bytes.path(allowed.key), once="once" in query):
            return _problem(HTTPStatus.PRECONDITION_FAILED, "the bytes are already there")
        return None

    async def _get(self, request: Request, allowed: Allowed) -> Response:
        query = allowed.query
        if "range" in query and request.headers.get("range") != query["range"]:
            return _problem(HTTPStatus.FORBIDDEN, f"send Range {query['range']}")
        path = self._bytes.path(allowed.key)
        if not await asyncio.to_thread(path.is_file):
            return _problem(HTTPStatus.NOT_FOUND, "the bytes are gone")
        headers = {"cache-control": "private, max-age=31536000, immutable"}
        if "save-as" in query:
            name = quote(query["save-as"], safe="")
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{name}"
        # What lies there was uploaded: a browser must not run it as a page of this origin.
        headers["content-security-policy"] = "sandbox; default-src 'none'"
        headers["x-content-type-options"] = "nosniff"
        return FileResponse(path, headers=headers, media_type=query["content-type"])


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


def _problem(status: HTTPStatus, detail: str) -> Response:
    return JSONResponse(
        {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
    )
