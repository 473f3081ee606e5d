"""Copies within an S3 store: one request up to 5 GB, S3's own limit of one, above it part by part.

CopySourceIfMatch holds for both (measured on MinIO and versitygw). A copy in parts has no checksum
of the store's: MinIO refuses UploadPartCopy for an upload that was begun with one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import cached_property, partial
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

    @cached_property
    def _store(self) -> Asking:
        """Asked with patience, and made for whoever copies: it has connections of its own."""
        return Asking(self._place, self._pool, read_seconds=ANSWER_SECONDS)

    async def copied(self, source: str, held: Held, target: str, content_type: str) -> bool:
        """Copy an object to another key; False when it is another one by now, or gone."""
        # The first copy makes the client, which takes a moment: not on the loop.
        await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._store)
        of = {"CopySource": self._store.at(source), "CopySourceIfMatch": held.etag}
        to = self._store.at(target)
        if held.size_bytes > limits.PLAIN_BYTES:
            return await self._in_parts(of, held.size_bytes, to, content_type)
        request = {"MetadataDirective": "REPLACE", "ContentType": content_type} | of | to
        return await self._unless_changed("copy_object", ChecksumAlgorithm="SHA256", **request)

    async def _in_parts(
        self, of: dict[str, Any], size: int, to: dict[str, str], content_type: str
    ) -> bool:
        begun = await self._store.ask(
            lambda client: client.create_multipart_upload(**to, ContentType=content_type)
        )
        upload = to | {"UploadId": begun["UploadId"]}
        done = False
        try:
            for first in range(1, part_count(size) + 1, _AT_ONCE):
                some = range(first, min(first + _AT_ONCE, part_count(size) + 1))
                copies = (self._part(of, size, number, upload) for number in some)
                if not all(await asyncio.gather(*copies)):
                    return False
            parts = {"Parts": await self._store.ask(partial(_parts, upload))}
            # Where it is not done, another copy of the same is there.
            done = await self._unless_changed(
                "complete_multipart_upload", **upload, MultipartUpload=parts, IfNoneMatch="*"
            )
        finally:
            if not done:
                await self._store.ask(lambda client: client.abort_multipart_upload(**upload))
        return True

    async def _part(
        self, of: dict[str, Any], size: int, number: int, upload: dict[str, str]
    ) -> bool:
        first = part_size(size) * (number - 1)
        last = first + part_bytes(size, number) - 1
        request = {"PartNumber": number, "CopySourceRange": f"bytes={first}-{last}"}
        return await self._unless_changed("upload_part_copy", **request, **of, **upload)

    async def _unless_changed(self, operation: str, **request: Any) -> bool:
        def asked(client: Any) -> bool:
            try:
                getattr(client, operation)(**request)
            except ClientError as error:
                if code_of(error) in GONE | TAKEN:
                    return False
                raise
            return True

        return await self._store.ask(asked)


def _parts(upload: dict[str, str], client: Any) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_parts").paginate(**upload)
    return [
        {"PartNumber": part["PartNumber"], "ETag": part["ETag"]}
        for page in pages
        for part in page["Parts"]
    ]
