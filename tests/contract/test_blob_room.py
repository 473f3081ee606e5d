"""Uploads that are begun on a disk with little room: only what fits, and what there is counts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from asgard_server.blob import limits, parts
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.kept import Kept
from asgard_server.blob.lending import Lender
from asgard_server.store.folder_grants import FolderGrants
from gimle.asgard.core.errors import AlreadyExistsError, StorageFullError

from tests.contract import blob_homes
from tests.contract.blob_homes import Home, Site
from tests.engines.small_disk import SmallDisk, small_disk

MIB = 1 << 20
PART = 2 * MIB
FREE = 8 * MIB


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def checked(name: str, size: int) -> NewUpload:
    return NewUpload(name=name, size_bytes=size, sha256=sha(name.encode()))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SINGLE_BYTES", 4 * MIB)
    monkeypatch.setattr(parts, "FEW_PART_BYTES", PART)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 48 * MIB) as disk:
        yield disk


@pytest.fixture
async def home(disk: SmallDisk, tmp_path: Path) -> AsyncIterator[Home]:
    """Bytes on the disk; what is known of them is elsewhere."""
    where = Site("folder", str(tmp_path), bytes_in=str(disk.path))
    async with blob_homes.home_at(where) as opened:
        yield opened


async def sent_in_parts(home: Home, blob: Blob, body: bytes, numbers: range) -> None:
    pieces = {number: body[(number - 1) * PART : number * PART] for number in numbers}
    asked = [(number, sha(piece)) for number, piece in pieces.items()]
    grants = await home.uploader.sign_parts(blob.id, asked, None)
    for grant, piece in zip(grants, pieces.values(), strict=True):
        assert (await home.send(grant, piece)).status_code == 200


async def test_of_a_call_that_does_not_fit_together_nothing_is_begun(
    home: Home, disk: SmallDisk
) -> None:
    disk.fill(leave=FREE)
    asked = [checked(name, 3 * MIB) for name in ("a", "b", "c")]
    with pytest.raises(StorageFullError, match="a and 2 more: the storage") as refused:
        await home.uploader.begin(asked)
    assert (refused.value.needed_bytes, refused.value.what) == (9 * MIB, "a and 2 more")
    assert await home.table.page("", "", 10) == []
    assert len(await home.uploader.begin(asked[:2])) == 2


async def test_an_upload_in_parts_needs_the_room_of_one_more(home: Home, disk: SmallDisk) -> None:
    disk.fill(leave=FREE)
    with pytest.raises(StorageFullError):
        await home.uploader.begin([NewUpload(name="parts", size_bytes=FREE - MIB)])
    assert await home.uploader.begin([NewUpload(name="parts", size_bytes=FREE - PART - MIB)])


async def test_a_plain_upload_and_copies_need_no_room_of_their_own(
    home: Home, disk: SmallDisk
) -> None:
    disk.fill(leave=FREE)
    size = FREE - MIB
    with pytest.raises(StorageFullError):
        await home.uploader.begin([NewUpload(name="plain", size_bytes=FREE + MIB, plain=True)])
    (begun,) = await home.uploader.begin([NewUpload(name="plain", size_bytes=size, plain=True)])
    assert begun.put is not None
    body = os.urandom(size)
    assert (await home.send(begun.put, body)).status_code == 200
    (done,) = await home.completer.complete([(begun.blob.id, sha(body))])
    assert isinstance(done, Blob)
    copy = await home.keeper.copy(done.id, "copy")
    assert (copy.sha256, copy.size_bytes) == (sha(body), size)
    await home.keeper.delete(done.id)
    assert await home.held.read(copy.key) == body


async def test_what_is_not_declared_is_refused_by_its_length(home: Home, disk: SmallDisk) -> None:
    disk.fill(leave=FREE)
    (begun,) = await home.uploader.begin([NewUpload(name="plain")])
    assert begun.put is not None
    answer = await home.send(begun.put, bytes(FREE + MIB))
    assert answer.status_code == 507
    assert "are needed, and" in answer.text, "before it has come"
    assert (await home.send(begun.put, bytes(MIB))).status_code == 200


async def test_what_is_there_needs_no_room(home: Home, disk: SmallDisk) -> None:
    body = os.urandom(2 * PART + MIB)
    whole = NewUpload(id="whole", name="whole", size_bytes=len(body))
    (begun,) = await home.uploader.begin([whole])
    await sent_in_parts(home, begun.blob, body, range(1, 4))
    (done,) = await home.completer.complete([(begun.blob.id, sha(body))])
    assert isinstance(done, Blob)
    one = NewUpload(id="one", name="one", size_bytes=MIB, sha256=sha(body[:MIB]))
    (begun,) = await home.uploader.begin([one])
    assert begun.put is not None
    assert (await home.send(begun.put, body[:MIB])).status_code == 200
    disk.fill(leave=MIB // 4)
    ready, arrived = await home.uploader.begin([whole, one])
    assert (ready.blob.state, arrived.blob.state) == ("ready", "uploading")
    (done,) = await home.completer.complete([("one", None)])
    assert isinstance(done, Blob)


async def test_parts_that_have_arrived_need_no_room(home: Home, disk: SmallDisk) -> None:
    body = os.urandom(4 * PART)
    new = NewUpload(id="parts", name="parts", size_bytes=len(body))
    (begun,) = await home.uploader.begin([new])
    await sent_in_parts(home, begun.blob, body, range(1, 3))
    disk.fill(leave=2 * PART + MIB)
    assert (await home.uploader.begin([new]))[0].blob.id == "parts"
    disk.make_room()
    disk.fill(leave=2 * PART - MIB)
    with pytest.raises(StorageFullError) as refused:
        await home.uploader.begin([new])
    assert refused.value.needed_bytes == 2 * PART


async def test_a_name_that_is_taken_is_told_before_the_room(home: Home, disk: SmallDisk) -> None:
    await home.uploader.begin([checked("taken", MIB)])
    disk.fill(leave=MIB // 2)
    with pytest.raises(AlreadyExistsError):
        await home.uploader.begin([NewUpload(name="taken", size_bytes=2 * FREE)])


async def test_arrays_that_do_not_fit_are_not_granted_and_those_that_go_on_are(
    home: Home, disk: SmallDisk
) -> None:
    lender = Lender(home.held, FolderGrants(b"secret", lambda: "http://here", home.clock))
    large, other = Kept("files/r_x.npy", 4 * PART), Kept("files/r_y.npy", 4 * PART)
    (lent,) = await lender.uploads([large], None)
    body = os.urandom(3 * PART)
    for number in (1, 2, 3):
        piece = body[(number - 1) * PART : number * PART]
        path = home.held.part_path(lent.kept.upload_id or "", number, sha(piece))  # type: ignore[attr-defined]
        path.write_bytes(piece)
    disk.fill(leave=PART + MIB)
    (lent,) = await lender.uploads([large], None)
    assert len(lent.arrived) == 3
    with pytest.raises(StorageFullError) as refused:
        await lender.uploads([large, other], None)
    assert refused.value.needed_bytes == PART + 5 * PART
    assert await home.held.going_on(other.key) == []
