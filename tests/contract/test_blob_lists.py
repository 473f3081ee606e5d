"""A folder of keys is told of by one list: each key as it is, and by nothing that is no list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
from asgard_server.store.s3_bytes import S3Bytes
from asgard_server.store.s3_heads import Heads, sizes_of
from asgard_server.store.s3_lines import Lines
from gimle.asgard.core.s3.place import Place, parse_url
from gimle.asgard.core.signing import Credentials, Endpoint

from tests.contract.blob_homes import STORES
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

# Letters that XML escapes, that URLs escape, that look like either, and that take several bytes.
ODD = (
    "a&b",
    "a<b>c",
    "q'u\"o",
    "a b",
    "a+b",
    "100%25",
    "&amp;",
    "]]>",
    "ü",
    "u\u0308",
    "日本",
    "🌋~",
)
SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class Shop:
    """A store with a bucket of its own: what asks it by lines, and patiently."""

    place: Place
    client: Any
    heads: Heads
    held: S3Bytes

    def put(self, folder: str, names: list[str]) -> dict[str, int]:
        """Put an object of another size under each name; answer the sizes."""
        sizes = {f"{folder}{name}": at % 50 for at, name in enumerate(names)}

        def one(key: str) -> None:
            body = b"x" * sizes[key]
            self.client.put_object(Bucket=self.place.bucket, Key=self.place.key(key), Body=body)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, sizes))
        return sizes


def heads_at(place: Place, endpoint: str) -> Heads:
    keys = Credentials(ACCESS_KEY, SECRET_KEY)
    return Heads(place, Lines(place.bucket, Endpoint.parse(endpoint), "us-east-1", keys))


@pytest.fixture(params=STORES)
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    store = STORES[request.param]()
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    place = replace(
        parse_url(f"s3://{store.bucket()}/p"), endpoint=store.endpoint, credentials=keys
    )
    with ThreadPoolExecutor(1) as pool:
        heads, held = heads_at(place, store.endpoint), S3Bytes(place, pool)
        yield Shop(place, store.client(), heads, held)
        await heads.close()
        await held.close()


async def test_a_list_tells_of_odd_keys_as_they_are(shop: Shop) -> None:
    put = await asyncio.to_thread(shop.put, "blobs/~1/", list(ODD))
    told = await shop.heads.sizes(shop.place.key("blobs/~1/"))
    assert told == {shop.place.key(key): size for key, size in put.items()}
    assert await shop.held.sizes("blobs/~1/") == put
    assert {one.key: one.size_bytes async for one in shop.held.list("blobs/~1/")} == put
    assert await shop.held.sizes("blobs/~1/a&") == {"blobs/~1/a&b": put["blobs/~1/a&b"]}


async def test_a_folder_that_nothing_has_come_to_is_empty(shop: Shop) -> None:
    assert await shop.heads.sizes(shop.place.key("blobs/~1/")) == {}


async def test_of_more_than_a_thousand_those_are_told_of_that_come_first(shop: Shop) -> None:
    put = await asyncio.to_thread(shop.put, "blobs/~1/", [f"{at:04}" for at in range(1_001)])
    told = await shop.held.sizes("blobs/~1/")
    assert told == {key: size for key, size in put.items() if not key.endswith("1000")}


async def test_an_error_within_a_200_is_no_list_and_the_patient_client_is_asked(shop: Shop) -> None:
    put = await asyncio.to_thread(shop.put, "blobs/~1/", ["a", "b"])
    body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        heads = heads_at(shop.place, f"http://127.0.0.1:{port}")
        assert await heads.sizes(shop.place.key("blobs/~1/")) is None
        shop.held._heads, own = heads, shop.held._heads
        assert await shop.held.sizes("blobs/~1/") == put
        await heads.close()
        shop.held._heads = own


def listing(*contents: str, begin: str = f'ListBucketResult xmlns="{SPACE}"') -> bytes:
    end = begin.partition(" ")[0]
    text = f"<?xml version='1.0' encoding='UTF-8'?>\n<{begin}>\n{''.join(contents)}</{end}>"
    return text.encode()


def one(key: str, size: str) -> str:
    owner = "<Owner><ID>Key</ID><DisplayName>Size</DisplayName></Owner>"
    return f"<Contents>\n <Key>{key}</Key>{owner}<Size>{size}</Size></Contents>\n"


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        (listing(one("a", "1"), one("b", "0")), {"a": 1, "b": 0}),
        (listing(one("a&amp;b&#xe9;", "5000000000000")), {"a&bé": 5_000_000_000_000}),
        (listing(one("<![CDATA[a<b]]>", "2")), {"a<b": 2}),
        (listing(one("a", "1"), begin="ListBucketResult"), {"a": 1}),
        (listing(one("a", "1"), begin='ListBucketResult xmlns="urn:another"'), {"a": 1}),
        (listing("<Contents><Key>a</Key></Contents>"), {"a": -1}),
        (listing("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"), {}),
        (listing("<KeyCount>0</KeyCount>"), {}),
        (listing(one("a", "1"), begin="Error"), None),
        (listing(one("a", "1"), begin="ListBucketResults"), None),
        (listing(one("a", "1"))[:-3], None),
        (listing(one("a", "much")), None),
        (b"<html>busy</html>", None),
        (b"not XML", None),
        (b"", None),
    ],
)
def test_a_list_is_read_by_its_own_names_and_nothing_else_is_one(
    body: bytes, sizes: dict[str, int] | None
) -> None:
    assert sizes_of(body) == sizes
