"""Copies within an S3 store: one request up to 5 GB, S3's own limit of one, above it part by part.

CopySourceIfMatch holds for both (measured on MinIO and versitygw). A copy in parts has no checksum
of the store's: MinIO refuses UploadPartCopy for an upload that was begun with one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from gimle.asgard.core.s3.place import Place

from asgard_server.blob import limits
from asgard_server.blob.domain import Held
from asgard_server.blob.parts import part_bytes, part_count, part_size
from asgard_server.store.s3_asking import GONE, TAKEN, Asking, code_of

_AT_ONCE = 4
# MinIO says nothing until it has copied all of it: 5 GB at 10 MB/s.
ANSWER_SECONDS = 500.0


class Copying:
    """Copies objects of a place."""

    def __init__(self, place: Place, pool: Executor) -> None:
        self._place, self._pool = place, pool
        self._patient: Asking | None = None

    async def copied(self, source: str, held: Held, target: str, content_type: str) -> bool:
        """Copy an object to another key; False when it is another one by now, or gone."""
        store = await self._store()
        of = {"CopySource": store.at(source), "CopySourceIfMatch": held.etag}
        to = store.at(target)
        if held.size_bytes > limits.PLAIN_BYTES:
            return await _in_parts(store, of, held.size_bytes, to, content_type)
        request = {"MetadataDirective": "REPLACE", "ContentType": content_type} | of | to
        return await _unless_changed(store, "copy_object", ChecksumAlgorithm="SHA256", **request)

    async def _store(self) -> Asking:
        """Made for whoever copies first, in a thread, for it takes a moment."""
        if self._patient is None:
            make = partial(Asking, self._place, self._pool, read_seconds=ANSWER_SECONDS)
            self._patient = await asyncio.get_running_loop().run_in_executor(self._pool, make)
        return self._patient


async def _in_parts(
    store: Asking, of: dict[str, Any], size: int, to: dict[str, str], content_type: str
) -> bool:
    begun = await store.ask(
        lambda client: client.create_multipart_upload(**to, ContentType=content_type)
    )
    upload = to | {"UploadId": begun["UploadId"]}

    async def part(number: int) -> bool:
        first = part_size(size) * (number - 1)
        last = first + part_bytes(size, number) - 1
        request = {"PartNumber": number, "CopySourceRange": f"bytes={first}-{last}"} | of | upload
        return await _unless_changed(store, "upload_part_copy", **request)

    done = False
    try:
        for first in range(1, part_count(size) + 1, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, part_count(size) + 1))
            if not all(await asyncio.gather(*map(part, some))):
                return False
        parts = {"Parts": await store.ask(partial(_parts, upload))}
        # Where it is not done, another copy of the same is there.
        done = await _unless_changed(
            store, "complete_multipart_upload", **upload, MultipartUpload=parts, IfNoneMatch="*"
        )
    finally:
        if not done:
            await store.ask(lambda client: client.abort_multipart_upload(**upload))
    return True


async def _unless_changed(store: Asking, operation: str, **request: Any) -> bool:
    def asked(client: Any) -> bool:
        try:
            getattr(client, operation)(**request)
        except ClientError as error:
            if code_of(error) in GONE | TAKEN:
                return False
            raise
        return True

    return await store.ask(asked)


def _parts(upload: dict[str, str], client: Any) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_parts").paginate(**upload)
    return [
        {"PartNumber": part["PartNumber"], "ETag": part["ETag"]}
        for page in pages
        for part in page["Parts"]
    ]
