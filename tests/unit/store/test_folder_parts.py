"""Parts of an upload in a folder become one file in the room of one more part."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asgard_server.blob import parts as sizes
from asgard_server.blob.kept import Kept
from asgard_server.blob.parts import Part
from asgard_server.store.folder_digests import noted_digest
from asgard_server.store.folder_parts import FolderParts
from gimle.asgard.core.errors import UploadIncompleteError

from tests.engines.small_disk import SmallDisk, small_disk

MIB = 1 << 20
PART = 4 * MIB
SIZE = 6 * PART - 12_345
KEY = "files/r_x.npy"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "FEW_PART_BYTES", PART)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk with room for the file and little more than a part."""
    with small_disk(tmp_path / "disk", SIZE + PART + MIB // 2) as disk:
        yield disk


class Upload:
    """An upload whose parts have arrived."""

    def __init__(self, storage: Path, size: int = SIZE) -> None:
        self.path = storage / "blobs" / "whole"
        self.folder = storage / "parts" / "one"
        self.blob = Kept(KEY, size, upload_id="one")
        self.body = os.urandom(size)
        self.parts = FolderParts(storage / "parts")
        self.parts.begin("one")
        for number in range(1, sizes.part_count(size) + 1):
            self.send(number)

    def send(self, number: int, piece: bytes | None = None) -> None:
        """Bring a part, or others bytes in its place."""
        if piece is None:
            piece = self.body[(number - 1) * PART : number * PART]
        sha256 = hashlib.sha256(piece).hexdigest()
        self.parts.path("one", number, sha256).write_bytes(piece)

    def arrived(self) -> list[Part]:
        """The parts that are said to be there."""
        return self.parts.arrived("one", self.blob.size_bytes) or []

    def all_parts(self) -> list[Part]:
        """The parts that have to be there."""
        pieces = [self.body[at : at + PART] for at in range(0, len(self.body), PART)]
        return [
            Part(number, len(piece), hashlib.sha256(piece).hexdigest())
            for number, piece in enumerate(pieces, 1)
        ]

    def put_together(self) -> None:
        """Put all together that is said to be there."""
        self.parts.put_together(self.blob, self.arrived(), self.path)


def died_at(number: int, upload: Upload) -> None:
    """Put an upload together, and end before its n-th part is flushed to the disk."""
    inner, left = os.fsync, [number + 1]  # the first flushes the folder

    def fsync(handle: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        inner(handle)

    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(os, "fsync", fsync)
        with pytest.raises(KeyboardInterrupt):
            upload.put_together()


def free(disk: SmallDisk) -> int:
    found = os.statvfs(disk.path)
    return found.f_bavail * found.f_frsize


def test_parts_are_put_together_in_the_room_of_one_more(disk: SmallDisk) -> None:
    upload = Upload(disk.path)
    assert free(disk) < 2 * PART
    upload.put_together()
    assert upload.path.read_bytes() == upload.body
    assert not upload.folder.exists()
    assert free(disk) > PART


def test_without_that_room_nothing_is_lost_and_none_is_taken(disk: SmallDisk) -> None:
    upload = Upload(disk.path)
    disk.fill(leave=PART // 2)
    before = free(disk)
    with pytest.raises(OSError, match="No space left"):
        upload.put_together()
    assert not upload.path.exists()
    assert upload.arrived() == upload.all_parts()
    assert before - free(disk) < MIB // 4
    disk.make_room()
    upload.put_together()
    assert upload.path.read_bytes() == upload.body


@pytest.mark.parametrize("number", range(1, 7))
def test_who_dies_at_a_part_leaves_all_of_them_to_the_next(tmp_path: Path, number: int) -> None:
    upload = Upload(tmp_path)
    died_at(number, upload)
    assert upload.arrived() == upload.all_parts()
    empty = [path for path in upload.folder.iterdir() if not path.stat().st_size]
    assert len(empty) == number - 1
    upload.put_together()
    assert upload.path.read_bytes() == upload.body


def test_a_part_that_comes_again_with_other_bytes_takes_the_place_of_one_that_is_in_the_whole(
    tmp_path: Path,
) -> None:
    upload = Upload(tmp_path)
    died_at(4, upload)
    other = os.urandom(PART)
    upload.body = upload.body[:PART] + other + upload.body[2 * PART :]
    upload.send(2)
    assert upload.arrived() == upload.all_parts()
    upload.put_together()
    assert upload.path.read_bytes() == upload.body


def test_a_part_whose_bytes_are_damaged_in_the_whole_is_asked_for_again(tmp_path: Path) -> None:
    upload = Upload(tmp_path)
    died_at(4, upload)
    with (upload.folder / "whole").open("r+b") as whole:
        whole.seek(PART + 7)
        whole.write(bytes(99))
    with pytest.raises(UploadIncompleteError, match="part 2 is damaged: send it again"):
        upload.put_together()
    assert [part.number for part in upload.arrived()] == [1, 3, 4, 5, 6]
    upload.send(2)
    upload.put_together()
    assert upload.path.read_bytes() == upload.body


def test_parts_whose_whole_is_gone_are_not_said_to_be_there(tmp_path: Path) -> None:
    upload = Upload(tmp_path)
    died_at(4, upload)
    (upload.folder / "whole").unlink()
    assert [part.number for part in upload.arrived()] == [4, 5, 6]


def test_of_several_who_put_the_same_together_at_once_one_does_and_each_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Upload(tmp_path)
    parts, all_at_once = upload.arrived(), threading.Barrier(6)
    inner, writers = os.pwrite, set[int]()

    def pwrite(handle: int, piece: memoryview, at: int) -> int:
        writers.add(threading.get_ident())
        return inner(handle, piece, at)

    monkeypatch.setattr(os, "pwrite", pwrite)

    def put_together() -> None:
        all_at_once.wait()
        FolderParts(tmp_path / "parts").put_together(upload.blob, parts, upload.path)

    with ThreadPoolExecutor(6) as pool:
        for each in [pool.submit(put_together) for _ in range(6)]:
            each.result()
    assert len(writers) == 1
    assert noted_digest(upload.path) == hashlib.sha256(upload.body).hexdigest()
    assert upload.path.read_bytes() == upload.body
    assert not upload.folder.exists()


def test_who_has_waited_for_parts_that_are_gone_takes_those_that_came_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Upload(tmp_path)
    parts, inner = upload.arrived(), fcntl.flock
    waits = [True]

    def flock(handle: int, how: int) -> None:
        if waits and waits.pop():
            upload.put_together()
            upload.path.unlink()
            upload.parts.begin("one")
            for number in range(1, 7):
                upload.send(number)
        inner(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    upload.parts.put_together(upload.blob, parts, upload.path)
    assert upload.path.read_bytes() == upload.body


def test_who_is_late_changes_nothing_of_what_is_there(tmp_path: Path) -> None:
    upload = Upload(tmp_path)
    parts = upload.arrived()
    upload.put_together()
    upload.parts.put_together(upload.blob, parts, upload.path)
    upload.parts.begin("one")  # as of who was killed before the parts were removed
    upload.send(1, bytes(PART))
    upload.parts.put_together(upload.blob, parts, upload.path)
    assert upload.path.read_bytes() == upload.body
    assert not upload.folder.exists()
