"""What Chronicle's client does where a server says that it is away for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from methodic import Chronicle, ServerUnavailableError


class Away(HTTPServer):
    """Answers 503 with this Retry-After until `back_s` seconds have passed since the first call."""

    def __init__(self, back_s: float, retry_after: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.back_s = back_s
        self.retry_after = retry_after
        self.asked: list[float] = []


class _Handler(BaseHTTPRequestHandler):
    server: Away

    def do_GET(self) -> None:
        self.server.asked.append(time.monotonic())
        there = self.server.asked[-1] - self.server.asked[0] >= self.server.back_s
        body = b'{"scopes": []}' if there else b"{}"
        self.send_response(200 if there else 503)
        if not there:
            self.send_header("retry-after", self.server.retry_after)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def away(back_s: float, retry_after: str) -> Iterator[tuple[Chronicle, Away]]:
    with Away(back_s, retry_after) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with Chronicle(f"http://127.0.0.1:{server.server_port}", "k", timeout=5) as client:
            yield client, server
        server.shutdown()
        thread.join()


def test_a_call_waits_as_long_as_a_server_asks_and_does_not_fail_before() -> None:
    with away(2.5, "1") as (chronicle, server):
        assert chronicle.me.scopes() == []
    assert len(server.asked) == 4
    waited = [later - before for before, later in zip(server.asked, server.asked[1:], strict=False)]
    assert min(waited) >= 1.0


@pytest.mark.parametrize("said", ["", "Wed, 21 Oct 2015 07:28:00 GMT", "-1", "²"])
def test_a_pause_that_is_no_number_of_seconds_is_the_clients_own(said: str) -> None:
    with away(0.1, said.encode().decode("latin-1")) as (chronicle, server):
        assert chronicle.me.scopes() == []
    assert len(server.asked) in {2, 3}


def test_what_must_not_be_sent_twice_is_not() -> None:
    with (
        away(0.1, "1") as (chronicle, server),
        pytest.raises(ServerUnavailableError),
    ):
        chronicle.assets.delete("a")
    assert len(server.asked) == 1
