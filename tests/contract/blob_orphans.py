"""What lies in the store of a home, seen past the service, against what its rows name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from asgard_server.blob import domain
from asgard_server.blob.keeping import Wanted
from gimle.asgard.core.errors import AsgardError

from tests.contract.blob_deaths import PART, body_of
from tests.contract.blob_homes import STORES, Home, Site


async def swept(home: Home) -> None:
    """Sweep once, when all grants have ended and nobody completes any more what is not."""
    margin = domain.MARGIN
    home.clock.ahead = timedelta(days=domain.UPLOAD_DAYS + 1)
    domain.MARGIN = timedelta(days=-1)  # the store's own clock goes on
    try:
        await home.sweeper.sweep()
    finally:
        domain.MARGIN = margin
        home.clock.ahead = timedelta()


async def lost(home: Home, acknowledged: Sequence[dict[str, Any]]) -> list[str]:
    """Blobs that were acknowledged and cannot be had, byte for byte."""
    gone = []
    for each in acknowledged:
        size = PART + 1_000 if each["name"].startswith("in_parts") else 2_000
        try:
            ((_, grant),) = await home.keeper.lend([Wanted(each["id"])], None)
            answer = await home.send(grant)
        except AsgardError as error:
            gone.append(f"{each['name']}: {error}")
        else:
            if answer.content != body_of(each["name"], size):
                gone.append(f"{each['name']}: {answer.status_code}, {answer.content[:200]!r}")
    return gone


async def orphans(home: Home, where: Site) -> dict[str, int]:
    """Bytes that no ready row names: keys, and how many each has.

    A row whose bytes are missing is an AssertionError.
    """
    known = {blob.key: blob.size_bytes for blob in await home.table.walk("", 10_000)}
    there = await asyncio.to_thread(_in_folder if where.name == "folder" else _in_bucket, where)
    for key, size in known.items():
        assert there.get(key) == size, f"{key} has {there.get(key)} bytes instead of {size}"
    return {key: size for key, size in there.items() if key not in known}


def _in_folder(where: Site) -> dict[str, int]:
    top = Path(where.folder)
    found = {
        path.relative_to(top).as_posix(): path.stat().st_size
        for folder in ("blobs", ".asgard/uploads")
        for path in (top / folder).rglob("*")
        if path.is_file()
    }
    # The digest of bytes lies beside them.
    return {key: size for key, size in found.items() if key.removesuffix(".sha256") not in found or
            not key.endswith(".sha256")}  # fmt: skip


def _in_bucket(where: Site) -> dict[str, int]:
    client = STORES[where.name]().client()
    found = {
        item["Key"].removeprefix("some/prefix/"): item["Size"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=where.bucket)
        for item in page.get("Contents", ())
    }
    for upload in client.list_multipart_uploads(Bucket=where.bucket).get("Uploads", ()):
        listed = client.list_parts(
            Bucket=where.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )
        for part in listed.get("Parts", ()):
            found[f"{upload['Key']}, part {part['PartNumber']}"] = part["Size"]
    return found
