"""Uploads in parts that are gone on with after their parts have ended: everywhere the same."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any, cast

import pytest
from asgard_server.auth.callers import bind
from asgard_server.auth.principal import LOCAL
from asgard_server.blob import limits, parts
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.handlers import BlobHandlers, Context
from gimle.asgard.core.errors import DigestMismatchError, UploadEndedError
from gimle.asgard.v1 import blob_service_pb2 as pb

from tests.contract import blob_homes
from tests.contract.blob_homes import Home

PART = 5 << 20
SIZE = 2 * PART + 12_345


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows, so that tests move few bytes."""
    monkeypatch.setattr(limits, "SINGLE_BYTES", 1 << 20)
    monkeypatch.setattr(parts, "FEW_PART_BYTES", PART)


home = blob_homes.each_home


async def begun(home: Home, sha256: str | None = None) -> Blob:
    new = NewUpload(name="a/b.bin", size_bytes=SIZE, sha256=sha256)
    (upload,) = await home.uploader.begin([new])
    return upload.blob


async def send(home: Home, blob: Blob, body: bytes) -> None:
    pieces = [body[at : at + PART] for at in range(0, len(body), PART)]
    asked = [(number, sha(piece)) for number, piece in enumerate(pieces, 1)]
    grants = await home.uploader.sign_parts(blob.id, asked, None)
    for grant, piece in zip(grants, pieces, strict=True):
        assert (await home.send(grant, piece)).status_code == 200


async def put_together_by_one_who_died(home: Home, blob: Blob, body: bytes) -> None:
    await send(home, blob, body)
    now, arrived = await home.uploader.parts(blob.id)
    await home.held.finish_parts(now, arrived)


async def test_what_was_put_together_by_one_who_died_is_ready_for_the_next(home: Home) -> None:
    body = os.urandom(SIZE)
    blob = await begun(home)
    await put_together_by_one_who_died(home, blob, body)
    with pytest.raises(UploadEndedError, match="it is ready"):
        await home.uploader.parts(blob.id)
    now = (await home.table.find([blob.id]))[blob.id]
    whole = b"".join(hashlib.sha256(body[at : at + PART]).digest() for at in range(0, SIZE, PART))
    assert (now.state, now.size_bytes) == ("ready", SIZE)
    assert now.sha256 == sha(body) or now.sha256_parts == sha(whole)
    assert now.sha256_verified == (now.sha256 is not None)
    # Whoever is late with what the first one knew is answered the blob, or that it is another.
    (done,) = await home.completer.complete([(blob.id, sha(body))])
    assert isinstance(done, Blob)


async def test_of_several_who_go_on_with_what_is_together_each_is_told_so(home: Home) -> None:
    blob = await begun(home)
    await put_together_by_one_who_died(home, blob, os.urandom(SIZE))
    told = await asyncio.gather(
        *(home.uploader.parts(blob.id) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in told] == [UploadEndedError] * 3


async def test_a_folder_does_not_take_what_is_together_for_other_bytes_than_declared(
    tmp_path: Path,
) -> None:
    # S3 stores know no digest of all bytes that came in parts.
    async with blob_homes.home("folder", tmp_path) as home:
        blob = await begun(home, sha256=sha(b"other bytes"))
        await put_together_by_one_who_died(home, blob, os.urandom(SIZE))
        with pytest.raises(DigestMismatchError):
            await home.uploader.parts(blob.id)


async def test_an_upload_whose_parts_have_expired_in_the_store_is_sent_anew(home: Home) -> None:
    body = os.urandom(SIZE)
    blob = await begun(home)
    await send(home, blob, body)
    expired, _ = await home.uploader.parts(blob.id)
    await home.held.drop_upload(expired)
    now, arrived = await home.uploader.parts(blob.id)
    assert (now.state, arrived) == ("uploading", [])
    await send(home, blob, body)
    (done,) = await home.completer.complete([(blob.id, sha(body))])
    assert isinstance(done, Blob)
    assert (done.state, done.sha256) == ("ready", sha(body))
    assert [each.key async for each in home.held.list("blobs/")] == [done.key]


async def test_two_who_go_on_with_expired_parts_at_once_send_the_same_new_ones(home: Home) -> None:
    body = os.urandom(SIZE)
    blob = await begun(home)
    await send(home, blob, body)
    expired, _ = await home.uploader.parts(blob.id)
    await home.held.drop_upload(expired)
    each = await asyncio.gather(*(home.uploader.parts(blob.id) for _ in range(4)))
    assert len({now.upload_id for now, _ in each} - {expired.upload_id}) == 1
    await send(home, blob, body)
    (done,) = await home.completer.complete([(blob.id, sha(body))])
    assert isinstance(done, Blob)
    assert [held.key async for held in home.held.list("blobs/")] == [done.key]


async def test_who_dies_while_his_upload_is_put_together_finds_it_ready_with_its_digest(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(SIZE)
    blob = await begun(home)
    await send(home, blob, body)
    finish, begins, goes_on = home.held.finish_parts, asyncio.Event(), asyncio.Event()

    async def slowly(*given: Any) -> None:
        begins.set()
        await goes_on.wait()
        await finish(*given)

    monkeypatch.setattr(home.held, "finish_parts", slowly)
    bind(LOCAL)
    handlers = BlobHandlers(home.uploader, home.completer, home.keeper)
    item = pb.CompleteUploadsRequest.Item(blob_id=blob.id, sha256=sha(body))
    request = pb.CompleteUploadsRequest(uploads=[item])
    caller = asyncio.create_task(handlers.CompleteUploads(request, cast(Context, None)))
    async with asyncio.timeout(60):
        await begins.wait()
    caller.cancel()  # as gRPC does when the connection breaks
    with pytest.raises(asyncio.CancelledError):
        await caller
    goes_on.set()
    async with asyncio.timeout(60):
        while (now := (await home.table.find([blob.id]))[blob.id]).state != "ready":  # noqa: ASYNC110 - a row has no event
            await asyncio.sleep(0.01)
    assert now.sha256 == sha(body)
