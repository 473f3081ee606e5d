"""Asking a store what is there over kept connections: right also when they break, or cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from asgard_server.store.s3_bytes import S3Bytes
from asgard_server.store.s3_heads import Heads
from gimle.asgard.core.s3.place import Place, parse_url
from gimle.asgard.core.signing import Credentials, Endpoint, Signer

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


def signer(place: Place, port: int | None = None) -> Signer:
    at = place.endpoint if port is None else f"http://127.0.0.1:{port}"
    return Signer(Endpoint.parse(str(at)), Credentials(ACCESS_KEY, SECRET_KEY))


async def test_both_ways_of_asking_answer_the_same(place: Place, held: S3Bytes) -> None:
    heads = Heads(place, signer(place))
    headers = await heads.head(KEY)
    assert headers is not None
    assert headers["content-length"] == str(len(BODY))
    assert await heads.head("blobs/none/1") is None, "what is missing is not for it to say"
    await heads.close()
    quick = await held.head(KEY)
    await held.close()
    held._heads = None
    assert quick == await held.head(KEY)
    assert await held.head("blobs/none/1") is None


async def test_a_connection_that_broke_while_it_was_idle_is_made_anew(place: Place) -> None:
    heads = Heads(place, signer(place))
    assert await heads.head(KEY)
    ((_, writer),) = heads._idle
    writer.transport.abort()
    assert await heads.head(KEY)
    await heads.close()


async def test_a_store_that_cannot_be_reached_so_is_asked_otherwise(
    place: Place, held: S3Bytes
) -> None:
    heads = held._heads = Heads(place, signer(place, free_port()))
    for _ in range(2):
        answer = await held.head(KEY)
        assert answer is not None
        assert answer.size_bytes == len(BODY)
    assert heads._rests_until > 0, "nor is it tried each time"


async def test_who_may_not_is_told_by_the_patient_client(place: Place) -> None:
    wrong = Signer(Endpoint.parse(str(place.endpoint)), Credentials(ACCESS_KEY, "wrong"))
    heads = Heads(place, wrong)
    assert await heads.head(KEY) is None
    await heads.close()
