"""Bytes that are copied within the store: those of a plain PUT, and of a blob to another name."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from asgard_server.auth.callers import bind
from asgard_server.auth.principal import LOCAL
from asgard_server.blob import domain, limits
from asgard_server.blob.domain import Blob, Held, NewUpload
from asgard_server.blob.handlers import BlobHandlers, Context
from asgard_server.blob.keeping import Wanted
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.s3_bytes import S3Bytes
from gimle.asgard.core.errors import (
    DigestMismatchError,
    StorageUnavailableError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.core.s3 import place
from gimle.asgard.v1 import blob_service_pb2 as pb

from tests.cluster.faulty_store import SLOW_S, faulty
from tests.contract import blob_homes
from tests.contract.blob_homes import Home
from tests.contract.blob_moves import (
    BODY,
    begun,
    complete,
    downloaded,
    sha,
    uploaded,
    uploaded_in_parts,
)
from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

home = blob_homes.each_home
small_parts = blob_homes.small_parts


async def test_a_plain_put_is_copied_and_then_cannot_change(home: Home) -> None:
    blob, put = await begun(home, NewUpload(name="plain"))
    assert (await home.send(put, b"first")).status_code == 200
    assert (await home.send(put, b"second")).status_code == 200
    done = await complete(home, blob.id)
    assert (done.sha256, done.sha256_verified, done.size_bytes) == (sha(b"second"), True, 6)
    assert (await home.send(put, b"third")).status_code == 200  # its URL holds still
    assert await downloaded(home, Wanted(blob.id)) == b"second"
    assert done.key in await home.keys()


async def test_bytes_that_come_between_the_look_and_the_copy_are_not_passed_for_the_first(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, put = await begun(home, NewUpload(name="plain"))
    assert (await home.send(put, b"first")).status_code == 200
    copy = home.held.copy

    async def late(*asked: Any) -> Held | None:
        monkeypatch.setattr(home.held, "copy", copy)
        assert (await home.send(put, b"second")).status_code == 200
        return await copy(*asked)

    monkeypatch.setattr(home.held, "copy", late)
    (refused,) = await home.completer.complete([(blob.id, None)])
    assert isinstance(refused, UploadIncompleteError)
    assert await home.keys() == [blob.arrives_at]
    assert (await complete(home, blob.id)).sha256 == sha(b"second")


async def test_two_who_complete_at_once_agree(home: Home) -> None:
    blob, put = await begun(home, NewUpload(name="plain"))
    assert (await home.send(put, BODY)).status_code == 200
    done = await asyncio.gather(*(complete(home, blob.id) for _ in range(8)))
    assert len({each.key for each in done}) == 1
    assert await home.keys() == [done[0].key]
    assert await downloaded(home, Wanted(blob.id)) == BODY


@pytest.mark.parametrize("dry_run", [False, True])
async def test_what_somebody_completes_while_it_is_looked_for_has_arrived(
    home: Home, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    blob, put = await begun(home, NewUpload(name="plain"))
    assert (await home.send(put, BODY)).status_code == 200
    head = home.held.head

    async def late(key: str) -> Held | None:
        monkeypatch.setattr(home.held, "head", head)
        await complete(home, blob.id)  # which removes what is looked for
        return await head(key)

    monkeypatch.setattr(home.held, "head", late)
    (found,) = await home.completer.complete([(blob.id, None)], dry_run=dry_run)
    assert isinstance(found, Blob)
    assert (found.state, found.sha256) == ("ready", sha(BODY))
    await home.keeper.delete(blob.id)
    (gone,) = await home.completer.complete([(blob.id, None)], dry_run=dry_run)
    assert not isinstance(gone, Blob)


async def test_a_plain_put_that_is_not_what_was_declared(home: Home) -> None:
    blob, put = await begun(home, NewUpload(name="plain", sha256=sha(b"right"), plain=True))
    assert (await home.send(put, b"wrong")).status_code == 200
    with pytest.raises(DigestMismatchError):
        await complete(home, blob.id)
    assert (await home.send(put, b"right")).status_code == 200
    assert (await complete(home, blob.id)).sha256 == sha(b"right")


async def test_a_copy_is_another_blob_with_the_same_bytes(home: Home) -> None:
    blob = await uploaded(home, content_type="text/plain")
    copy = await home.keeper.copy(blob.id, "copy")
    assert (copy.sha256, copy.content_type, copy.name) == (blob.sha256, "text/plain", "copy")
    assert copy.id != blob.id
    assert await home.keeper.copy(blob.id, "copy") == copy
    await home.keeper.delete(blob.id)
    assert await downloaded(home, Wanted(copy.id)) == BODY


class Slow:
    """A copy that waits for `goes_on` before it is made."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begins, self.goes_on = asyncio.Event(), asyncio.Event()
        copy = home.held.copy

        async def slowly(*asked: Any) -> Held | None:
            self.begins.set()
            await self.goes_on.wait()
            return await copy(*asked)

        monkeypatch.setattr(home.held, "copy", slowly)


async def test_a_copy_is_made_to_its_end_when_its_caller_is_gone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, slow = await uploaded(home), Slow(home, monkeypatch)
    bind(LOCAL)
    handlers = BlobHandlers(home.uploader, home.completer, home.keeper)
    request = pb.CopyBlobRequest(blob_id=blob.id, name="copy")
    caller = asyncio.create_task(handlers.CopyBlob(request, cast(Context, None)))
    await asyncio.wait_for(slow.begins.wait(), 60)
    caller.cancel()  # as gRPC does at the caller's deadline
    with pytest.raises(asyncio.CancelledError):
        await caller
    slow.goes_on.set()
    async with asyncio.timeout(60):
        while (await home.keeper.blob("name:copy")).state != "ready":  # noqa: ASYNC110 - a row has no event
            await asyncio.sleep(0.01)
    assert (await home.keeper.copy(blob.id, "copy")).sha256 == blob.sha256


async def test_of_a_copy_that_is_deleted_while_it_is_made_nothing_stays(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, slow = await uploaded(home), Slow(home, monkeypatch)
    copying = asyncio.create_task(home.keeper.copy(blob.id, "copy"))
    await asyncio.wait_for(slow.begins.wait(), 60)
    await home.keeper.delete("name:copy")
    slow.goes_on.set()
    with pytest.raises(UploadEndedError):
        await copying
    assert await home.keys() == [blob.key]


async def test_what_one_request_does_not_copy_is_copied_in_parts(
    home: Home, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(2 * small_parts + 1)
    blob = await uploaded_in_parts(home, body, small_parts)
    monkeypatch.setattr(limits, "PLAIN_BYTES", small_parts)
    copies = await asyncio.gather(*(home.keeper.copy(blob.id, "copy") for _ in range(3)))
    assert len({copy.key for copy in copies}) == 1
    assert (copies[0].sha256, copies[0].size_bytes) == (blob.sha256, len(body))
    assert copies[0].sha256_verified == isinstance(home.held, FolderBytes)
    assert sorted(await home.keys()) == sorted([blob.key, copies[0].key])
    assert await home.held.going_on(copies[0].key) == []
    await home.keeper.delete(blob.id)
    assert await downloaded(home, Wanted(copies[0].id)) == body


async def test_a_store_may_take_longer_to_copy_than_to_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, "READ_SECONDS", SLOW_S / 4)
    store = minio.server()
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    at = replace(place.parse_url(f"s3://{store.bucket()}/p"), credentials=keys)
    store.client().put_object(Bucket=at.bucket, Key=at.key("staging/a/1"), Body=BODY)
    async with faulty(store) as slow:
        slow.fault = "slow"
        with ThreadPoolExecutor(1) as pool:
            held = S3Bytes(replace(at, endpoint=slow.endpoint), pool)
            arrived = await held.head("staging/a/1")
            assert arrived is not None
            copy = await held.copy("staging/a/1", arrived, "blobs/a/1", "text/plain")
            await held.close()
    assert copy is not None
    assert (copy.sha256, slow.lies) == (sha(BODY), 1)


@pytest.mark.parametrize("home", blob_homes.STORES, indirect=True)
async def test_a_copy_in_parts_whose_process_dies_leaves_nothing(
    home: Home, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(2 * small_parts)
    blob = await uploaded_in_parts(home, body, small_parts)
    monkeypatch.setattr(limits, "PLAIN_BYTES", small_parts)
    begun_at: list[str] = []

    async def dies(source: str, held: Held, target: str, content_type: str) -> None:
        begun_at.append(target)
        await home.held.begin_parts(replace(blob, id=target.split("/")[1], attempt=domain.FIRST))
        raise StorageUnavailableError("the store", "this process has died")

    monkeypatch.setattr(home.held, "copy", dies)
    with pytest.raises(StorageUnavailableError):
        await home.keeper.copy(blob.id, "copy")
    assert len(await home.held.going_on(begun_at[0])) == 1
    home.clock.ahead = timedelta(days=8)
    await home.sweeper.sweep()
    assert await home.held.going_on(begun_at[0]) == []
    assert await home.keys() == [blob.key]
