"""A server that takes PUTs as a test wants it to, and counts."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CUT, SILENT = -1, -2
"""Instead of a status: the connection is closed half way, or nothing is said any more."""


class PutServer:
    """`answers` are the statuses by file name, the last of them for good; 200 without any."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, list[int]] = {}
        self.bodies: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}
        self.times: dict[str, list[float]] = {}
        self.said = b""
        self.keeps = True
        self.ended = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                server.take(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End all of it."""
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def urls(self, *names: str) -> dict[str, str]:
        """A URL for each file."""
        return {name: f"{self.url}/{name}?X-Amz-Signature=secret" for name in names}

    def attempts(self, name: str) -> int:
        """How often a file was sent."""
        return len(self.times.get(name, ()))

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Take one request."""
        name = handler.path.partition("?")[0].removeprefix("/")
        self.times.setdefault(name, []).append(time.monotonic())
        answers = self.answers.get(name, [200])
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        size = int(handler.headers["content-length"])
        if status == CUT:
            handler.rfile.read(size // 2)
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        body = bytearray()
        while size and (chunk := handler.rfile.read(min(size, 1 << 20))):
            size -= len(chunk)
            if self.keeps:
                body += chunk
        if status == SILENT:
            self.ended.wait(60)
            handler.close_connection = True
            return
        if status in (200, 204):
            self.bodies[name] = bytes(body)
            self.kinds[name] = handler.headers["content-type"]
        handler.send_response(status)
        if status != 204:
            handler.send_header("content-length", str(len(self.said)))
        handler.end_headers()
        if status != 204:
            handler.wfile.write(self.said)


@contextmanager
def a_put_server(tls: ssl.SSLContext | None = None) -> Iterator[PutServer]:
    """A server for one test, over TLS where it is told how."""
    server = PutServer(tls)
    try:
        yield server
    finally:
        server.close()
