"""The bytes of blobs in an S3 store, asked through boto3 in threads: `Bytes`.

What was measured on MinIO and versitygw decides the conditions used here (docs/protocols.md 12):
CompleteMultipartUpload honours If-None-Match, CopyObject ignores it (so a copy goes to a key that
is never used again) but honours CopySourceIfMatch.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place

from asgard_server.blob import limits
from asgard_server.blob.domain import Blob, Held, Target
from asgard_server.blob.parts import Part
from asgard_server.blob.store import Listed, Room
from asgard_server.store.s3_asking import GONE, TAKEN, Asking, code_of
from asgard_server.store.s3_copying import Copying
from asgard_server.store.s3_heads import heads_of

# So many keys does S3 take in one call.
_IN_ONE_CALL = 1_000


class S3Bytes:
    """Bytes of blobs below a prefix of a bucket."""

    def __init__(self, place: Place, pool: Executor) -> None:
        self._place = place
        self._store = Asking(place, pool)
        self._heads = heads_of(place, self._store.client)
        self._copying = Copying(place, pool)

    @property
    def lists(self) -> S3Bytes:
        """Itself: a folder of keys costs little more than one of them."""
        return self

    async def sizes(self, folder: str) -> dict[str, int]:
        """How many bytes lie under the keys of a folder, of the first thousand at most."""
        found = None if self._heads is None else await self._heads.sizes(self._place.key(folder))
        if found is None:
            return {one.key: one.size_bytes async for one in self.list(folder)}
        skip = len(self._place.key(""))
        return {key[skip:]: size for key, size in found.items()}

    async def close(self) -> None:
        """Let go of connections, in the loop that has used them."""
        if self._heads is not None:
            await self._heads.close()

    async def room(self) -> Room | None:
        """None: a store does not tell, and refuses what does not fit."""
        return None

    async def begin_parts(self, blob: Target) -> str:
        """Begin an upload in parts; answer what the store calls it."""

        def begin(client: Any) -> str:
            answer = client.create_multipart_upload(
                **self._store.at(blob.key),
                ContentType=blob.content_type,
                ChecksumAlgorithm="SHA256",
            )
            return str(answer["UploadId"])

        return await self._store.ask(begin)

    async def parts(self, blob: Target) -> list[Part] | None:
        """Parts that have arrived, by number; None when the store knows no such upload."""

        def parts(client: Any) -> list[Part] | None:
            pages = client.get_paginator("list_parts").paginate(
                **self._store.at(blob.key), UploadId=blob.upload_id
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
                if code_of(error) in GONE:
                    return None
                raise

        return None if blob.upload_id is None else await self._store.ask(parts)

    async def finish_parts(self, blob: Target, parts: Sequence[Part]) -> None:
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
                **self._store.at(blob.key),
                UploadId=blob.upload_id,
                MultipartUpload={"Parts": named},
                IfNoneMatch="*",
            )

        def finish_once(client: Any) -> None:
            try:
                finish(client)
            except ClientError as error:
                # Somebody else has put them together: the bytes there are the first's.
                if code_of(error) not in GONE | TAKEN:
                    raise

        await self._store.ask(finish_once)

    async def going_on(self, key: str) -> list[str]:
        """Uploads in parts of a key that have not ended, the oldest first."""
        return await self._store.ask(lambda client: self._going_on(client, key))

    def _going_on(self, client: Any, key: str) -> list[str]:
        place = self._store.at(key)
        # MinIO lists those of one key alone, whatever prefix of it is asked for.
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=place["Bucket"], Prefix=place["Key"]
        )
        found = [
            (upload["Initiated"], str(upload["UploadId"]))
            for page in pages
            for upload in page.get("Uploads", ())
            if upload["Key"] == place["Key"]
        ]
        return [upload_id for _, upload_id in sorted(found)]

    async def sha256(self, key: str) -> str | None:
        """None: the store itself has computed it, or nobody has."""
        return None

    async def drop_upload(self, blob: Target) -> None:
        """Give up the one upload in parts that `blob` names. One that is gone is no error."""

        def drop(client: Any) -> None:
            try:
                client.abort_multipart_upload(**self._store.at(blob.key), UploadId=blob.upload_id)
            except ClientError as error:
                if code_of(error) not in GONE:
                    raise

        await self._store.ask(drop)

    async def drop_parts(self, blob: Blob) -> None:
        """Give up all uploads in parts of a key, also those that died before they had a name."""
        await self._store.ask(lambda client: self._drop_parts(client, blob))

    def _drop_parts(self, client: Any, blob: Blob) -> None:
        at = self._store.at(blob.key)
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
        if headers is None:
            return await self._store.ask(lambda client: self._head(client, key))
        if not headers:
            return None
        said = headers.get("x-amz-checksum-sha256", "")
        return _held(int(headers["content-length"]), headers.get("etag", ""), said)

    def _head(self, client: Any, key: str) -> Held | None:
        try:
            answer = client.head_object(**self._store.at(key), ChecksumMode="ENABLED")
        except ClientError as error:
            if code_of(error) in GONE:
                return None
            raise
        said = str(answer.get("ChecksumSHA256") or "")
        return _held(answer["ContentLength"], answer["ETag"], said)

    async def copy(self, source: str, held: Held, target: str, content_type: str) -> Held | None:
        """Copy bytes to a key that has none; None when the source is another one by now."""
        if not await self._copying.copied(source, held, target, content_type):
            return None
        return await self._store.ask(lambda client: self._head(client, target))

    async def read(self, key: str) -> bytes | None:
        """Read the bytes of a key whole, None when there are none."""

        def read(client: Any) -> bytes | None:
            try:
                answer = client.get_object(**self._store.at(key))
            except ClientError as error:
                if code_of(error) in GONE:
                    return None
                raise
            with answer["Body"] as body:
                return bytes(body.read())

        return await self._store.ask(read)

    async def write(self, blob: Blob, body: bytes) -> Held:
        """Write the bytes of a blob unless its key has some; answer what is there."""

        def write(client: Any) -> Held:
            try:
                client.put_object(
                    **self._store.at(blob.key),
                    Body=body,
                    ContentType=blob.content_type,
                    ChecksumAlgorithm="SHA256",
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if code_of(error) not in TAKEN:
                    raise
            held = self._head(client, blob.key)
            if held is None:
                raise StorageUnavailableError(
                    str(self._place), f"{blob.key} is gone as soon as it is written"
                )
            return held

        return await self._store.ask(write)

    async def remove(self, blob: Blob) -> None:
        """Remove everything of a blob. What is gone is no error."""

        def remove(client: Any) -> None:
            if _has_parts(blob):
                self._drop_parts(client, blob)
            for key in {blob.key, blob.arrives_at}:
                client.delete_object(**self._store.at(key))

        await self._store.ask(remove)

    async def remove_all(self, blobs: Sequence[Blob]) -> None:
        """Remove everything of many blobs, a thousand keys in each call."""
        await asyncio.gather(*map(self.drop_parts, filter(_has_parts, blobs)))
        keys = list(dict.fromkeys(key for blob in blobs for key in (blob.key, blob.arrives_at)))
        for first in range(0, len(keys), _IN_ONE_CALL):
            some = keys[first : first + _IN_ONE_CALL]
            await self._store.ask(partial(self._delete, keys=some))

    def _delete(self, client: Any, keys: Sequence[str]) -> None:
        named = [{"Key": self._place.key(key)} for key in keys]
        answer = client.delete_objects(
            Bucket=self._place.bucket, Delete={"Objects": named, "Quiet": True}
        )
        for refused in answer.get("Errors", ()):
            if refused.get("Code") not in GONE:
                raise ClientError({"Error": refused}, "DeleteObjects")

    async def clear(self, key: str) -> None:
        """Remove everything under a key: the object, and uploads in parts that go on."""

        def clear(client: Any) -> None:
            # In this order: an upload that is put together meanwhile makes the object.
            for upload_id in self._going_on(client, key):
                with suppress(ClientError):  # put together, or given up, already
                    client.abort_multipart_upload(**self._store.at(key), UploadId=upload_id)
            client.delete_object(**self._store.at(key))

        await self._store.ask(clear)

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

            answer = await self._store.ask(page)
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            for item in answer.get("Contents", ()):
                now = item["LastModified"] if date is None else parsedate_to_datetime(date)
                age = (now - item["LastModified"]).total_seconds()
                yield Listed(item["Key"][skip:], item["Size"], age)
                after = item["Key"]
            if not answer.get("IsTruncated"):
                return


def _has_parts(blob: Blob) -> bool:
    """Whether parts may lie under its key: its own, or those of a copy (s3_copying.py)."""
    return blob.way == "parts" or (blob.size_bytes or 0) > limits.PLAIN_BYTES


def _held(size: int, etag: str, said: str) -> Held:
    """`said` is the store's checksum: of all bytes, or over those of N parts, with "-N" behind."""
    composite, _, count = said.partition("-")
    if count:
        return Held(size, etag, sha256_parts=_hex(composite))
    return Held(size, etag, sha256=_hex(said))


def _hex(text: str | None) -> str | None:
    return base64.b64decode(text).hex() if text else None


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
