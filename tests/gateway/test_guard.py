from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.conftest import a_connection
from tests.gateway.toys import toy_gateway

# One server for the module: it holds nothing that a test could leave behind.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address() -> AsyncIterator[str]:
    async with toy_gateway(max_body_bytes=10_000, allowed_hosts=("lab.example",)) as at:
        yield at


async def raw(address: str, sent: bytes, *, leave: bool = False) -> bytes:
    """Send bytes as they are, say goodbye or do not, and read until the server closes."""
    split = urlsplit(address)
    async with a_connection(split.hostname, split.port) as (reader, writer):
        writer.write(sent)
        await writer.drain()
        if leave:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:1", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:9", 200),
        ("[::1]:8000", 200), ("lab.example", 200), ("lab.example:443", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example:80", 403),
        ("lab.example.evil", 403), ("[::2]", 403), ("0.0.0.0", 403),
        ("", 400), ("localhost:", 400), ("a b", 400), ("localhost@evil.example", 400),
        ("localhost:80:80", 400), ("localhost/evil", 400),
    ],
)  # fmt: skip
async def test_only_names_of_this_machine_are_answered(
    address: str, host: str, status: int
) -> None:
    sent = f"GET /v1/toys HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert (await raw(address, sent.encode())).startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_missing_or_doubled_host_is_refused(address: str) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        sent = b"GET /v1/toys HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n"
        assert (await raw(address, sent)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True), ("same", True), ("http://localhost:1", False), ("null", False),
        ("http://evil.example", False), ("file://", False), ("", False),
        ("https://127.0.0.1", False), ("http://127.0.0.1", False),
    ],
)  # fmt: skip
async def test_a_foreign_page_reads_nothing_and_changes_nothing(
    address: str, origin: str | None, allowed: bool
) -> None:
    headers = {} if origin is None else {"origin": address if origin == "same" else origin}
    async with httpx.AsyncClient(base_url=address, headers=headers) as client:
        changed = await client.post("/v1/toys/t:wind", json={})
        read = await client.get("/v1/toys")
        asked = await client.options("/v1/toys")
    assert (changed.status_code == 200) == allowed
    if not allowed:
        assert (changed.status_code, changed.json()["reason"]) == (403, "ORIGIN_NOT_ALLOWED")
    # Reading is harmless because no answer says that another origin may see it.
    assert read.status_code == 200
    for answer in (changed, read, asked):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_page_behind_a_proxy_has_the_name_that_the_proxy_keeps(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        for host, origin, status in (
            ("lab.example", "https://lab.example", 200),
            ("lab.example:8443", "https://lab.example:8443", 200),
            ("lab.example", "https://lab.example:8443", 403),
        ):
            headers = {"host": host, "origin": origin}
            answer = await client.post("/v1/toys/t:wind", json={}, headers=headers)
            assert answer.status_code == status, (host, origin)


async def test_every_answer_carries_the_security_headers(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        for path in ("/v1/toys", "/v1/none", "/v1/toys:watch?count=1", "/v1/toys/missing"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "server" not in headers, "no need to say what runs here"


async def test_a_request_keeps_the_id_that_it_brings(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        kept = await client.get("/v1/toys", headers={"x-request-id": "abc-1"})
        made = await client.get("/v1/toys", headers={"x-request-id": "a b<script>"})
    assert kept.headers["x-request-id"] == "abc-1"
    assert "script" not in made.headers["x-request-id"]


async def test_a_body_over_the_limit_is_413_whether_it_says_its_length_or_not(
    address: str,
) -> None:
    head = b"POST /v1/toys/t:wind HTTP/1.1\r\nHost: localhost\r\n"
    said = head + b"Content-Length: 100000000000\r\n\r\n{"
    assert (await raw(address, said)).startswith(b"HTTP/1.1 413 ")
    piece = b"400\r\n" + b" " * 1024 + b"\r\n"
    endless = head + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 20
    assert (await raw(address, endless)).startswith(b"HTTP/1.1 413 ")
    small = head + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert (await raw(address, small)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/toys HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST /v1/toys/t:wind HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/toys/t:wind HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n{}",
        b"POST /v1/toys/t:wind HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/toys HTTP/1.1\r\nHost: localhost\r\nBroken header\r\n\r\n",
        b"POST /v1/toys/t:wind HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"zz\r\n{}\r\n",
    ],
)
async def test_bytes_that_are_no_http_are_refused_and_harm_nobody(
    address: str, sent: bytes
) -> None:
    got = await raw(address, sent, leave=True)
    assert not got or got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 ")), got
    async with httpx.AsyncClient(base_url=address) as client:
        assert (await client.get("/v1/toys")).status_code == 200


async def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(address: str) -> None:
    head = b"POST /v1/toys/t:wind HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
    await raw(address, head, leave=True)
    async with httpx.AsyncClient(base_url=address) as client:
        assert (await client.get("/v1/toys")).status_code == 200
