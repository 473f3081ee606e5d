"""Small writes over kept connections: what was plainly done is told, all else is left to others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from hashlib import sha256

import pytest
from asgard_server.store.s3_objects import Objects
from asgard_server.store.s3_puts import Puts, UnansweredError
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Credentials, Endpoint, Signer

from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

NEW = {"If-None-Match": "*"}
DONE = b'HTTP/1.1 200 OK\r\nETag: "e1"\r\nContent-Length: 0\r\n\r\n'
Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Scripted:
    """A store that answers each request by the next of `answers`, the last one for ever."""

    def __init__(self, *answers: Say) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with closing(writer):
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                length = re.search(rb"Content-Length: (\d+)", head)
                assert length
                self.requests.append(head + await reader.readexactly(int(length[1])))
                await (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(writer)
                if writer.is_closing():
                    return


@asynccontextmanager
async def puts(store: Scripted) -> AsyncIterator[Puts]:
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = Endpoint.parse(f"http://127.0.0.1:{port}")
    made = Puts(Signer(endpoint, Credentials("k", "s")), "bucket", {})
    try:
        yield made
    finally:
        made.close()
        server.close()
        await server.wait_closed()


def says(*parts: bytes) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return say


def hangs_up(after: bytes = b"") -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        writer.close()

    return say


async def nothing(writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


@pytest.fixture(params=["minio", "versitygw"])
def store(request: pytest.FixtureRequest) -> Store:
    return minio.server() if request.param == "minio" else versitygw.server()


def place_of(store: Store, prefix: str) -> Place:
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return Place(store.bucket(), prefix, store.endpoint, keys)


@pytest.mark.parametrize("prefix", ["", "runs of ö/a+b~c%20d"])
async def test_what_is_written_is_there_once_and_is_replaced_by_its_etag(
    store: Store, prefix: str
) -> None:
    place = place_of(store, prefix)
    made = Puts.of(place)
    assert made is not None
    key = place.key("runs/r 1.json")
    body = b'{"a": 1}'
    first = await made.put(key, body, NEW, 10)
    assert first.status == 200
    assert (await made.put(key, b"{}", NEW, 10)).status == 412
    assert (await made.put(key, b"{}", {"If-Match": '"0"'}, 10)).status == 412
    second = await made.put(key, b"[]", {"If-Match": first.etag}, 10)
    assert second.status == 200
    objects = Objects(place)
    found = await objects.get("runs/r 1.json")
    assert found is not None
    assert (found.body, found.etag) == (b"[]", second.etag)
    assert await objects.create("runs/r 1.json", body) is None
    made.close()
    objects.close()


async def test_of_many_who_create_an_object_at_once_one_does(store: Store) -> None:
    objects = Objects(place_of(store, "p"))
    bodies = [str(number).encode() for number in range(16)]
    made = await asyncio.gather(*(objects.create("runs/r.json", body) for body in bodies))
    winners = [body for body, one in zip(bodies, made, strict=True) if one is not None]
    found = await objects.get("runs/r.json")
    assert found is not None
    assert winners == [found.body]
    objects.close()


async def test_a_connection_serves_one_after_the_other_whatever_pieces_its_answers_come_in() -> (
    None
):
    store = Scripted(says(*(DONE[at : at + 1] for at in range(len(DONE)))))
    async with puts(store) as made:
        for _ in range(5):
            assert await made.put("a/b", b"body", NEW, 10) == (200, '"e1"')
    assert store.connections == 1
    assert len(store.requests) == 5
    assert store.requests[0].startswith(b"PUT /bucket/a/b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert store.requests[0].endswith(b"\r\n\r\nbody")
    assert sha256(b"body").hexdigest().encode() in store.requests[0]


@pytest.mark.parametrize(
    "answer",
    [
        says(DONE.replace(b"Content-Length", b"Connection: close\r\nContent-Length")),
        says(DONE + b"more than was asked for"),
        says(DONE.replace(b"Content-Length: 0", b"Content-Length: 4") + b"body"),
        says(DONE.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ],
)
async def test_a_connection_that_may_say_more_or_is_closed_is_not_used_again(answer: Say) -> None:
    store = Scripted(answer, says(DONE))
    async with puts(store) as made:
        for _ in range(2):
            assert await made.put("a", b"", NEW, 10) == (200, '"e1"')
    assert store.connections == 2


@pytest.mark.parametrize(
    "answer", [nothing, hangs_up(), hangs_up(DONE[:20]), says(b"SSH-2.0-store\r\n\r\n")]
)
async def test_a_request_without_an_answer_is_said_to_have_none(answer: Say) -> None:
    async with puts(Scripted(answer)) as made:
        with pytest.raises(UnansweredError):
            await made.put("a", b"", NEW, 0.5)


async def test_a_store_that_is_not_there_has_not_been_asked() -> None:
    async with puts(Scripted(nothing)) as made:
        pass
    assert (await made.put("a", b"", NEW, 10)).status == 0


async def test_who_leaves_takes_his_connection_with_him() -> None:
    store = Scripted(nothing, says(DONE))
    async with puts(store) as made:
        leaving = asyncio.create_task(made.put("a", b"", NEW, 30))
        async with asyncio.timeout(30):
            while not store.requests:  # noqa: ASYNC110 - the store does not tell
                await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await made.put("b", b"", NEW, 10) == (200, '"e1"')
    assert store.connections == 2


async def test_what_takes_more_than_plain_requests_is_left_to_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s"}
    assert Puts.of(Place("bucket", "", "http://store:9000", keys)) is not None
    assert Puts.of(Place("bucket", "", "https://store:9000", keys)) is None, "TLS"
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert Puts.of(Place("bucket", "", None, keys)) is None, "Amazon's own addresses"
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    assert Puts.of(Place("bucket", "", "http://store:9000", keys)) is None, "a proxy"
