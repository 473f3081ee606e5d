"""The page's files: held in memory, compressed once, read again when they were built again."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from starlette.types import ASGIApp

from asgard_server.gateway.answers import Answer, gzip, serve
from asgard_server.gateway.problems import unknown_path
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler

STATIC = Path(__file__).parent / "static"
# Addresses that the page itself understands; all of them are index.html.
ADDRESSES = ("/", "/index.html", "/runs", "/runs/{run_id}", "/sign-in")
LOOK_SECONDS = 1.0
MAX_FILE_BYTES = 16 << 20

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
# A name with a content hash in it, as bundlers write them: index-BwT3x9Qz.js
_HASHED = re.compile(r".*[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+(\.map)?")
_IMMUTABLE = "public, max-age=31536000, immutable"
_NOT_BUILT = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Asgard</title>
<h1>The page is not built</h1>
<p>The service runs; only the page's files are missing. In the clone, type
<code>make setup</code>, or in <code>clients/dashboard</code>: <code>npm ci</code> and
<code>npm run build</code>. Then load this page again.</p>
<p>The API is here meanwhile: <a href="/api/runs">/api/runs</a>,
<a href="/openapi.json">/openapi.json</a>.</p>
</html>
"""
_MISTYPED = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Not found - Asgard</title>
<h1>There is no such page</h1>
<p>Asgard's pages are the <a href="/runs">list of runs</a> and the runs in it. Programs find
what is served in <a href="/openapi.json">/openapi.json</a>.</p>
</html>
"""
# Whoever mistypes these is a program, whatever it accepts.
_OF_PROGRAMS = ("api/", "v1/", "assets/", "auth/")


@dataclass(slots=True)
class _Built:
    """One state of the built files."""

    stamp: tuple[int, int]
    files: dict[str, Answer] = field(default_factory=dict)


class Pages:
    """Serves `index.html` at the page's addresses, and every other built file at its path."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._built = _Built((0, 0))
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        """Yield verb, template and handler of each."""
        for address in ADDRESSES:
            yield "GET", address, self.page

    async def page(self, request: Request) -> ASGIApp:
        """Serve the page, or say how to build it."""
        files = await self._files()
        found = files.get("index.html")
        if found is None:
            found = Answer(_NOT_BUILT, _TYPES[".html"], status=503)
        return await serve(request, found)

    async def file(self, request: Request) -> ASGIApp:
        """Serve a built file, or tell a browser where the pages are. Raises `Problem` 404."""
        path = request.variables["path"]
        found = (await self._files()).get(path)
        if found is None:
            asked = request.header(b"accept")
            if "text/html" in asked and not path.startswith(_OF_PROGRAMS):
                headers = {"cache-control": "no-store", "vary": "accept"}
                return await serve(
                    request, Answer(_MISTYPED, _TYPES[".html"], "", headers, status=404)
                )
            raise unknown_path(f"/{path[:200]}")
        return await serve(request, found)

    async def _files(self) -> dict[str, Answer]:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            async with self._looking:
                if time.monotonic() - self._looked >= LOOK_SECONDS:
                    self._built = await asyncio.to_thread(_read, self._folder, self._built)
                    self._looked = time.monotonic()
        return self._built.files


def _read(folder: Path, before: _Built) -> _Built:
    """Read the files, unless index.html is as it was."""
    try:
        stat = (folder / "index.html").stat()
    except OSError:
        return _Built((0, 0))
    stamp = (stat.st_mtime_ns, stat.st_size)
    if stamp == before.stamp:
        return before
    built = _Built(stamp)
    for path in sorted(folder.rglob("*")):
        kind = _TYPES.get(path.suffix)
        if kind is None or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            continue
        name = path.relative_to(folder).as_posix()
        built.files[name] = _answer(path, name, kind)
    return built


def _answer(path: Path, name: str, kind: str) -> Answer:
    body = path.read_bytes()
    forever = name.startswith("assets/") and _HASHED.fullmatch(name)
    answer = Answer(
        body,
        kind,
        f'"{blake2b(body, digest_size=12).hexdigest()}"',
        {"cache-control": _IMMUTABLE} if forever else {},
    )
    if answer.compresses:
        for coding, suffix in (("gzip", ".gz"), ("br", ".br")):
            beside = path.with_name(path.name + suffix)
            if beside.is_file():
                answer.encoded[coding] = beside.read_bytes()
        answer.encoded.setdefault("gzip", gzip(body, 9))
        answer.etag = f"W/{answer.etag}"
    return answer
