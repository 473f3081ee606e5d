"""What somebody has stored runs nothing in the browser of who has signed in."""

from __future__ import annotations

import pytest
from asgard_server.gateway.guard import Guard
from asgard_server.gateway.metrics import Metrics
from starlette.responses import Response
from starlette.types import Message


async def policy_of(path: str, content_type: str) -> str:
    """The Content-Security-Policy of an answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(Response(b"x", media_type=content_type), (), Metrics())
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
    await guard({**scope, "query_string": b""}, receive, send)
    found: bytes = dict(sent[0]["headers"])[b"content-security-policy"]
    return found.decode()


@pytest.mark.parametrize("path", ["/v1/assets/a/preview", "/api/jobs/1/report", "/s/token"])
@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "text/javascript"])
async def test_data_is_in_a_sandbox_whatever_it_says_it_is(path: str, kind: str) -> None:
    assert "sandbox" in (await policy_of(path, kind)).split("; ")


async def test_the_page_may_run_its_own_scripts() -> None:
    assert "script-src 'self'" in await policy_of("/runs", "text/html; charset=utf-8")
