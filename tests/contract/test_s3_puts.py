"""Small objects written over connections of the loop's own: the same as by obstore, also broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvloop
from asgard_server.store import s3_keys, s3_puts
from asgard_server.store.s3_lines import Lines
from asgard_server.store.s3_objects import Objects
from asgard_server.store.s3_puts import Puts
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.objects import ConflictError
from gimle.asgard.core.s3.place import Place, parse_url
from gimle.asgard.core.signing import Credentials, Endpoint
from obstore.exceptions import GenericError, PermissionDeniedError

from tests.conftest import free_port
from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

STORES = {"minio": minio.server, "versitygw": versitygw.server}
NEW = ("if-none-match", "*")
KEYS = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}


@pytest.fixture(params=list(STORES))
def place(request: pytest.FixtureRequest) -> Place:
    store = STORES[request.param]()
    return replace(parse_url(f"s3://{store.bucket()}/p"), endpoint=store.endpoint, credentials=KEYS)


@pytest.fixture(params=["own", "obstore"])
def objects(place: Place, request: pytest.FixtureRequest) -> Objects:
    return opened(place, own=request.param == "own")


def opened(place: Place, *, own: bool = True) -> Objects:
    made = Objects(place)
    if not own:
        made._puts = None
    return made


def puts_to(place: Place, port: int) -> Puts:
    endpoint = Endpoint.parse(f"http://127.0.0.1:{port}")
    keys = Credentials(ACCESS_KEY, SECRET_KEY)
    return Puts(place, Lines(place.bucket, endpoint, "us-east-1", keys), 5.0)


@asynccontextmanager
async def answering(*said: bytes) -> AsyncIterator[int]:
    """A server that reads a request for each of `said`, answers it so, and closes at the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in said:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_condition_is_kept_and_the_etag_is_the_stores(objects: Objects) -> None:
    made = await objects.create("a b+c/ü.json", b"{}")
    assert made is not None
    assert made.etag == await objects.etag("a b+c/ü.json")
    assert await objects.create("a b+c/ü.json", b"other") is None
    etag = await objects.replace("a b+c/ü.json", b"[]", made.etag)
    found = await objects.get("a b+c/ü.json")
    assert found is not None
    assert (found.body, found.etag) == (b"[]", etag)
    with pytest.raises(ConflictError):
        await objects.replace("a b+c/ü.json", b"{}", made.etag)
    with pytest.raises(ConflictError):
        await objects.replace("nowhere.json", b"{}", made.etag)
    objects.close()


async def test_of_writers_at_once_one_creates(objects: Objects) -> None:
    made = await asyncio.gather(*(objects.create("one.json", b"%d" % n) for n in range(16)))
    assert sum(each is not None for each in made) == 1
    objects.close()


async def test_refusals_are_told_in_the_same_words(place: Place) -> None:
    wrong = {**KEYS, "aws_secret_access_key": "another"}
    for kind in ({"bucket": "no-such-bucket-here"}, {"credentials": wrong}):
        said: list[str] = []
        for own in (True, False):
            objects = opened(replace(place, **kind), own=own)
            with pytest.raises(StorageUnavailableError) as refused:
                await objects.create("a.json", b"{}")
            said.append(str(refused.value))
            objects.close()
        assert said[0] == said[1]


async def test_what_is_large_goes_by_obstore(place: Place) -> None:
    objects = opened(place)
    assert objects._puts is not None
    assert await objects._puts.put("large", b"x" * (s3_puts.MOST_BYTES + 1), NEW) is None
    assert await objects.create("large", b"x" * (s3_puts.MOST_BYTES + 1)) is not None
    objects.close()


# versitygw closes each connection when it has answered.
@pytest.mark.parametrize("place", ["minio"], indirect=True)
async def test_a_connection_that_ended_while_it_was_idle_is_made_anew(place: Place) -> None:
    objects = opened(place)
    assert objects._puts is not None
    assert await objects.create("1", b"{}")
    (first,) = objects._puts.lines.idle
    first.abort()
    assert (await objects.create("2", b"{}")) is not None
    (second,) = objects._puts.lines.idle
    assert second is not first
    second.used_at -= 5.0  # the store may be about to close it
    made = await objects.create("3", b"{}")
    assert made is not None
    assert not made.unanswered
    assert objects._puts.lines.idle[0] is not second
    objects.close()


async def test_a_store_that_cannot_be_reached_so_is_written_to_by_obstore(place: Place) -> None:
    objects = opened(place)
    objects._puts = puts_to(place, free_port())
    for name in ("1", "2"):
        made = await objects.create(name, b"{}")
        assert made is not None
        assert not made.unanswered, "nothing was sent"
    assert objects._puts.lines.rests_until > 0, "nor is it tried each time"


async def test_a_redirect_is_followed_by_obstore(place: Place) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
    async with answering(moved) as port:
        puts = puts_to(place, port)
        assert await puts.put("a", b"{}", NEW) is None
        puts.close()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncont", b"what?\r\n\r\n"])
async def test_an_attempt_without_an_answer_is_known_to_be_one(place: Place, said: bytes) -> None:
    async with answering(said) as port:
        puts = puts_to(place, port)
        with pytest.raises(GenericError) as broken:
            await puts.put("a", b"{}", NEW)
        assert "status code" not in str(broken.value)
        puts.close()


async def test_an_attempt_that_nobody_waits_for_leaves_no_connection(place: Place) -> None:
    came, may_end = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        came.set()
        await may_end.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        puts = puts_to(place, server.sockets[0].getsockname()[1])
        asked = asyncio.create_task(puts.put("a", b"{}", NEW))
        await came.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert puts.lines.idle == []
        may_end.set()


async def test_answers_without_a_length_and_the_last_of_a_connection_are_taken(
    place: Place,
) -> None:
    refused = b"HTTP/1.1 503 Slow\r\n\r\n<Error><Code>SlowDown</Code></Error>"
    last = b'HTTP/1.1 200 OK\r\netag: "x"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'
    for said in (refused, last):
        async with answering(said) as port:
            puts = puts_to(place, port)
            if said is last:
                assert await puts.put("a", b"{}", NEW) == '"x"'
            else:
                with pytest.raises(GenericError, match=r"status code: 503.*<Code>SlowDown</Code>"):
                    await puts.put("a", b"{}", NEW)
            assert puts.lines.idle == []


async def test_lent_credentials_are_asked_for_in_a_thread_and_seldom(place: Place) -> None:
    asked: list[str] = []

    def lent() -> Credentials:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asked.append("in a thread")
        return Credentials(ACCESS_KEY, SECRET_KEY)

    endpoint = Endpoint.parse(str(place.endpoint))
    puts = Puts(place, Lines(place.bucket, endpoint, "us-east-1", lent), 5.0)
    for name in ("1", "2"):
        assert await puts.put(f"p/{name}", b"{}", NEW)
    assert asked == ["in a thread"]
    puts.close()


async def test_credentials_that_are_lent_anew_sign_what_follows(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_keys, "RENEW_S", 0.0)
    good, wrong = Credentials(ACCESS_KEY, SECRET_KEY), Credentials(ACCESS_KEY, "wrong")
    lent = iter([good, wrong, good])
    endpoint = Endpoint.parse(str(place.endpoint))
    puts = Puts(place, Lines(place.bucket, endpoint, "us-east-1", lambda: next(lent)), 5.0)
    assert await puts.put("p/1", b"{}", NEW)
    with pytest.raises(PermissionDeniedError):
        await puts.put("p/2", b"{}", NEW)
    assert await puts.put("p/2", b"{}", NEW)
    puts.close()


def test_it_works_on_the_loop_of_the_services_too(place: Place) -> None:
    async def write() -> str | None:
        objects = opened(place)
        assert objects._puts is not None
        etag = await objects._puts.put(place.key("a.json"), b"{}", NEW)
        assert etag == await objects.etag("a.json")
        objects.close()
        return etag

    assert uvloop.run(write())
