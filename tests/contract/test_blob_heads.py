"""Asking a store what is there over kept connections: right also when they break, or cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
from asgard_server.store import s3_heads
from asgard_server.store.s3_bytes import S3Bytes
from asgard_server.store.s3_heads import Heads
from asgard_server.store.s3_lines import Lines
from gimle.asgard.core.s3.place import Place, parse_url
from gimle.asgard.core.signing import Credentials, Endpoint

from tests.conftest import free_port
from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

KEY, BODY = "blobs/one/1", b"what a simulation has computed"


@pytest.fixture
def place() -> Place:
    store = minio.server()
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    at = replace(parse_url(f"s3://{store.bucket()}/p"), endpoint=store.endpoint, credentials=keys)
    store.client().put_object(
        Bucket=at.bucket, Key=at.key(KEY), Body=BODY, ChecksumAlgorithm="SHA256"
    )
    return at


@pytest.fixture
async def held(place: Place) -> AsyncIterator[S3Bytes]:
    with ThreadPoolExecutor(1) as pool:
        held = S3Bytes(place, pool)
        yield held
        await held.close()


def heads_at(place: Place, port: int | None = None, secret: str = SECRET_KEY) -> Heads:
    at = place.endpoint if port is None else f"http://127.0.0.1:{port}"
    keys = Credentials(ACCESS_KEY, secret)
    return Heads(place, Lines(place.bucket, Endpoint.parse(str(at)), "us-east-1", keys))


async def test_both_ways_of_asking_answer_the_same(place: Place, held: S3Bytes) -> None:
    heads = heads_at(place)
    headers = await heads.head(KEY)
    assert headers is not None
    assert headers["content-length"] == str(len(BODY))
    assert await heads.head("blobs/none/1") == {}
    await heads.close()
    quick, missing = await held.head(KEY), await held.head("blobs/none/1")
    await held.close()
    held._heads = None
    assert quick == await held.head(KEY)
    assert missing is None
    assert await held.head("blobs/none/1") is None


async def test_what_is_missing_is_not_asked_for_twice(held: S3Bytes) -> None:
    def patient(work: object) -> None:
        pytest.fail("the patient client was asked, too")

    held._store.ask = patient  # type: ignore[method-assign, assignment]  # it is not to be asked
    assert await held.head("blobs/none/1") is None


async def test_a_connection_that_broke_while_it_was_idle_is_made_anew(place: Place) -> None:
    heads = heads_at(place)
    assert await heads.head(KEY)
    (line,) = heads.lines.idle
    line.abort()
    assert await heads.head(KEY)
    await heads.close()


async def test_a_store_that_cannot_be_reached_so_is_asked_otherwise(
    place: Place, held: S3Bytes
) -> None:
    heads = held._heads = heads_at(place, free_port())
    for _ in range(2):
        answer = await held.head(KEY)
        assert answer is not None
        assert answer.size_bytes == len(BODY)
    assert heads.lines.rests_until > 0, "nor is it tried each time"


async def test_who_may_not_is_told_by_the_patient_client(place: Place) -> None:
    heads = heads_at(place, secret="wrong")
    assert await heads.head(KEY) is None
    await heads.close()


async def test_a_kept_connection_that_ends_at_the_next_question_is_asked_anew(
    place: Place,
) -> None:
    questions, ended = 0, asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal questions
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            # The length is of what a GET would bring: a HEAD's answer has no body.
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
            questions += 1
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        ended.release()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        heads = heads_at(place, server.sockets[0].getsockname()[1])
        for _ in range(3):
            assert await heads.head(KEY) == {"content-length": "5000"}
        assert questions == 3
        assert heads.lines.rests_until == 0, "it is not to blame"
        await heads.close()
        for _ in range(questions):
            await ended.acquire()


async def test_a_store_that_says_nothing_is_given_up_and_rests(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_heads, "_PATIENCE_S", 0.2)
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_end.wait()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        heads = heads_at(place, server.sockets[0].getsockname()[1])
        assert await heads.head(KEY) is None
        assert heads.lines.rests_until > 0
        assert heads.lines.idle == []
        await heads.close()
        may_end.set()
        await ended.wait()
