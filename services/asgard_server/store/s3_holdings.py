"""All that lies in an S3 store of bytes: `Holdings`, asked through boto3 in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError
from gimle.asgard.core.s3.place import Place

from asgard_server.blob.holdings import Holding
from asgard_server.store.s3_asking import GONE, Asking, code_of

_PIECE = 1 << 20


class S3Holdings:
    """What lies below a prefix of a bucket."""

    def __init__(self, place: Place, pool: Executor) -> None:
        self._place = place
        self._store = Asking(place, pool)

    async def objects(self, folder: str) -> AsyncIterator[Holding]:
        """All objects below a folder of keys, in the order of their keys' bytes."""
        skip = len(self._place.key(""))
        asked = {"Bucket": self._place.bucket, "Prefix": self._place.key(folder)}
        async for page in self._pages("list_objects_v2", asked):
            now = _now(page)
            for item in page.get("Contents", ()):
                age = _age(now, item["LastModified"])
                yield Holding(item["Key"][skip:], item["Size"], age, item["ETag"].strip('"'))

    async def unfinished(self) -> AsyncIterator[Holding]:
        """Uploads in parts of blobs, as far as the store tells of them."""
        prefix = self._place.key("blobs/")
        told = False
        # MinIO answers to the exact key of an upload, or to nothing at all: then with every
        # upload of the bucket.
        for asked_for in (prefix, ""):
            asked = {"Bucket": self._place.bucket, "Prefix": asked_for}
            async for page in self._pages("list_multipart_uploads", asked):
                now = _now(page)
                for upload in page.get("Uploads", ()):
                    if upload["Key"].startswith(prefix):
                        told = True
                        yield await self._upload(upload, now)
            if told:
                return

    async def _upload(self, upload: Any, now: datetime | None) -> Holding:
        key, upload_id = upload["Key"], upload["UploadId"]

        def parts(client: Any) -> list[Any]:
            pages = client.get_paginator("list_parts").paginate(
                Bucket=self._place.bucket, Key=key, UploadId=upload_id
            )
            try:
                return [part for page in pages for part in page.get("Parts", ())]
            except ClientError as error:
                if code_of(error) in GONE:  # put together, or given up, meanwhile
                    return []
                raise

        arrived = await self._store.ask(parts)
        last = max([upload["Initiated"], *(part["LastModified"] for part in arrived)])
        size = sum(part["Size"] for part in arrived)
        return Holding(key[len(self._place.key("")) :], size, _age(now, last), upload_id=upload_id)

    async def temporaries(self) -> AsyncIterator[Holding]:
        """None: a request to S3 that breaks off leaves nothing."""
        nothing: tuple[Holding, ...] = ()
        for held in nothing:
            yield held

    async def now(self, key: str) -> Holding | None:
        """One object as it is at this moment, None when there is none."""

        def head(client: Any) -> Holding | None:
            try:
                answer = client.head_object(**self._store.at(key))
            except ClientError as error:
                if code_of(error) in GONE:
                    return None
                raise
            age = _age(_now(answer), answer["LastModified"])
            return Holding(key, answer["ContentLength"], age, answer["ETag"].strip('"'))

        return await self._store.ask(head)

    async def pieces(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object, some at a time. Raises `FileNotFoundError`."""

        def opened(client: Any) -> Any:
            try:
                return client.get_object(**self._store.at(key))["Body"]
            except ClientError as error:
                if code_of(error) in GONE:
                    return None
                raise

        body = await self._store.ask(opened)
        if body is None:
            raise FileNotFoundError(key)
        try:
            while piece := await self._store.ask(lambda _: body.read(_PIECE)):
                yield piece
        finally:
            body.close()

    async def drop(self, holding: Holding) -> None:
        """Remove an object, or parts that have not been put together."""

        def drop(client: Any) -> None:
            if not holding.upload_id:
                client.delete_object(**self._store.at(holding.key))
                return
            with suppress(ClientError):  # put together, or given up, meanwhile
                client.abort_multipart_upload(
                    **self._store.at(holding.key), UploadId=holding.upload_id
                )

        await self._store.ask(drop)

    async def _pages(self, call: str, asked: dict[str, str]) -> AsyncIterator[Any]:
        """The pages of a listing, each fetched in a thread."""
        pages: Iterator[Any] = await self._store.ask(
            lambda client: iter(client.get_paginator(call).paginate(**asked))
        )
        while (page := await self._store.ask(lambda _: next(pages, None))) is not None:
            yield page


def _now(answer: Any) -> datetime | None:
    """The store's clock."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return None if date is None else parsedate_to_datetime(date)


def _age(now: datetime | None, then: datetime) -> float:
    return 0.0 if now is None else max(0.0, (now - then).total_seconds())
