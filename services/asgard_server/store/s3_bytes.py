"""The bytes of blobs in an S3 store, asked through boto3 in threads: `Bytes`.

What was measured on MinIO and versitygw decides the conditions used here (docs/protocols.md 12):
CompleteMultipartUpload honours If-None-Match, CopyObject ignores it (so a copy goes to a key that
is never used again) but honours CopySourceIfMatch.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.objects import translated
from gimle.asgard.core.s3.place import Connection, Place

from asgard_server.blob.domain import Blob, Held
from asgard_server.blob.parts import Part
from asgard_server.blob.store import Listed
from asgard_server.store.s3_heads import heads_of

T = TypeVar("T")

_GONE = {"NoSuchKey", "NoSuchUpload", "404", "NotFound"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "409", "412"}


class S3Bytes:
    """Bytes of blobs below a prefix of a bucket."""

    def __init__(self, place: Place, pool: Executor) -> None:
        self._place = place
        self._connection = Connection(place)
        self._heads = heads_of(place, self._connection.client())
        self._pool = pool

    async def close(self) -> None:
        """Let go of connections, in the loop that has used them."""
        if self._heads is not None:
            await self._heads.close()

    async def _ask(self, work: Callable[[Any], T]) -> T:
        """Ask the store in a thread; its refusals are said in our words."""

        def asked() -> T:
            try:
                return work(self._connection.client())
            except (ClientError, BotoCoreError) as error:
                raise translated(self._place, error) from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, asked)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._place.bucket, "Key": self._place.key(key)}

    async def begin_parts(self, blob: Blob) -> str:
        """Begin an upload in parts; answer what the store calls it."""

        def begin(client: Any) -> str:
            answer = client.create_multipart_upload(
                **self._at(blob.key), ContentType=blob.content_type, ChecksumAlgorithm="SHA256"
            )
            return str(answer["UploadId"])

        return await self._ask(begin)

    async def parts(self, blob: Blob) -> list[Part] | None:
        """Parts that have arrived, by number; None when the store knows no such upload."""

        def parts(client: Any) -> list[Part] | None:
            pages = client.get_paginator("list_parts").paginate(
                **self._at(blob.key), UploadId=blob.upload_id
            )
            try:
                return [
                    Part(
                        part["PartNumber"],
                        part["Size"],
                        _hex(part.get("ChecksumSHA256")) or "",
                        part["ETag"],
                    )
                    for page in pages
                    for part in page.get("Parts", ())
                ]
            except ClientError as error:
                if _code(error) in _GONE:
                    return None
                raise

        return None if blob.upload_id is None else await self._ask(parts)

    async def finish_parts(self, blob: Blob, parts: Sequence[Part]) -> None:
        """Put the parts together, unless the key has bytes already."""

        def finish(client: Any) -> None:
            named = [
                {
                    "PartNumber": part.number,
                    "ETag": part.etag,
                    "ChecksumSHA256": _base64(part.sha256),
                }
                for part in parts
            ]
            client.complete_multipart_upload(
                **self._at(blob.key),
                UploadId=blob.upload_id,
                MultipartUpload={"Parts": named},
                IfNoneMatch="*",
            )

        def finish_once(client: Any) -> None:
            try:
                finish(client)
            except ClientError as error:
                # Somebody else has put them together: the bytes there are the first's.
                if _code(error) not in _GONE | _TAKEN:
                    raise

        await self._ask(finish_once)

    async def drop_parts(self, blob: Blob) -> None:
        """Give up all uploads in parts of a key, also those that died before they had a name."""
        await self._ask(lambda client: self._drop_parts(client, blob))

    def _drop_parts(self, client: Any, blob: Blob) -> None:
        at = self._at(blob.key)
        try:
            found = client.list_multipart_uploads(Bucket=at["Bucket"], Prefix=at["Key"])
            begun = [
                each["UploadId"] for each in found.get("Uploads", ()) if each["Key"] == at["Key"]
            ]
        except ClientError:  # who may not list gives up the one it knows
            begun = [] if blob.upload_id is None else [blob.upload_id]
        for upload_id in begun:
            with suppress(ClientError):  # put together, or given up, already
                client.abort_multipart_upload(**at, UploadId=upload_id)

    async def head(self, key: str) -> Held | None:
        """What is there under a key, None for nothing."""
        headers = None if self._heads is None else await self._heads.head(key)
        if headers is not None:
            said = headers.get("x-amz-checksum-sha256", "")
            return _held(int(headers["content-length"]), headers.get("etag", ""), said)
        return await self._ask(lambda client: self._head(client, key))

    def _head(self, client: Any, key: str) -> Held | None:
        try:
            answer = client.head_object(**self._at(key), ChecksumMode="ENABLED")
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise
        said = str(answer.get("ChecksumSHA256") or "")
        return _held(answer["ContentLength"], answer["ETag"], said)

    async def copy(self, source: str, etag: str, target: str, content_type: str) -> Held | None:
        """Copy bytes to a key that has none; None when the source is another one by now."""

        def copy(client: Any) -> Held | None:
            try:
                client.copy_object(
                    **self._at(target),
                    CopySource=self._at(source),
                    CopySourceIfMatch=etag,
                    ChecksumAlgorithm="SHA256",
                    MetadataDirective="REPLACE",
                    ContentType=content_type,
                )
            except ClientError as error:
                if _code(error) in _GONE | _TAKEN:
                    return None
                raise
            return self._head(client, target)

        return await self._ask(copy)

    async def read(self, key: str) -> bytes | None:
        """Read the bytes of a key whole, None when there are none."""

        def read(client: Any) -> bytes | None:
            try:
                answer = client.get_object(**self._at(key))
            except ClientError as error:
                if _code(error) in _GONE:
                    return None
                raise
            with answer["Body"] as body:
                return bytes(body.read())

        return await self._ask(read)

    async def write(self, blob: Blob, body: bytes) -> Held:
        """Write the bytes of a blob unless its key has some; answer what is there."""

        def write(client: Any) -> Held:
            try:
                client.put_object(
                    **self._at(blob.key),
                    Body=body,
                    ContentType=blob.content_type,
                    ChecksumAlgorithm="SHA256",
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if _code(error) not in _TAKEN:
                    raise
            held = self._head(client, blob.key)
            if held is None:
                raise StorageUnavailableError(
                    str(self._place), f"{blob.key} is gone as soon as it is written"
                )
            return held

        return await self._ask(write)

    async def remove(self, blob: Blob) -> None:
        """Remove everything of a blob. What is gone is no error."""

        def remove(client: Any) -> None:
            if blob.way == "parts":
                self._drop_parts(client, blob)
            for key in {blob.key, blob.arrives_at}:
                client.delete_object(**self._at(key))

        await self._ask(remove)

    async def list(self, folder: str) -> AsyncIterator[Listed]:
        """All bytes below a folder of keys ("blobs/", "staging/"), in the order of keys."""
        after = ""
        skip = len(self._place.key(""))
        while True:

            def page(client: Any, after: str = after) -> Any:
                more = {"StartAfter": after} if after else {}
                return client.list_objects_v2(
                    Bucket=self._place.bucket, Prefix=self._place.key(folder), **more
                )

            answer = await self._ask(page)
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            for item in answer.get("Contents", ()):
                now = item["LastModified"] if date is None else parsedate_to_datetime(date)
                age = (now - item["LastModified"]).total_seconds()
                yield Listed(item["Key"][skip:], item["Size"], age)
                after = item["Key"]
            if not answer.get("IsTruncated"):
                return


def _held(size: int, etag: str, said: str) -> Held:
    """`said` is the store's checksum: of all bytes, or over those of N parts, with "-N" behind."""
    composite, _, count = said.partition("-")
    if count:
        return Held(size, etag, sha256_parts=_hex(composite))
    return Held(size, etag, sha256=_hex(said))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _hex(text: str | None) -> str | None:
    return base64.b64decode(text).hex() if text else None


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
