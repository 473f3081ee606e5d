"""MinIO refuses a put whose folder, left empty by a delete, vanished under way: it is put again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asgard_server.store.s3_objects import Objects
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.objects import Objects as SdkObjects
from gimle.asgard.core.s3.place import Place

from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

# As MinIO says it (RELEASE.2025-09-07), which it did to 5 of 8,253 puts of six threads that put one
# object into a folder and deleted it, again and again.
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    b"<Message>Access Denied.</Message></Error>"
)


class Denying(ThreadingHTTPServer):
    """A store that refuses so many puts, and takes those that come after."""

    def __init__(self, denials: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.denials = denials
        self.puts = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Denying

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.puts += 1
        denied = self.server.puts <= self.server.denials
        body = DENIED if denied else b""
        self.send_response(403 if denied else 200)
        self.send_header("etag", '"e"')
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def denying(denials: int) -> Iterator[tuple[Place, Denying]]:
    with Denying(denials) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        endpoint = f"http://127.0.0.1:{server.server_port}"
        yield Place("bucket", "p", endpoint=endpoint, credentials=keys), server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("own", [True, False])
async def test_the_service_puts_again_what_was_refused_in_passing(own: bool) -> None:
    with denying(2) as (place, server):
        objects = Objects(place)
        if not own:
            objects._puts = None
        assert await objects.create("runs/a.json", b"{}") is not None
        assert server.puts == 3
        objects.close()


def test_the_library_puts_again_what_was_refused_in_passing() -> None:
    with denying(2) as (place, server):
        SdkObjects(place).put("runs/a.json", b"{}")
        assert server.puts == 3


async def test_who_is_always_refused_is_told_before_long() -> None:
    with denying(1_000) as (place, server):
        objects = Objects(place)
        with pytest.raises(StorageUnavailableError, match="refuses us"):
            await objects.create("runs/a.json", b"{}")
        assert server.puts == 4
        with pytest.raises(StorageUnavailableError, match="Access Denied"):
            SdkObjects(place).put("runs/a.json", b"{}")
        objects.close()
