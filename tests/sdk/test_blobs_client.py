"""Blobs from Python, against real services: whole, verified, and on from where a kill ended."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.client.blobs import Blobs
from gimle.asgard.client.blobs_async import AsyncBlobs
from gimle.asgard.client.blobs_grants import ServiceUploads
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    BlobNotReadyError,
    InvalidFieldError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.transfer import (
    Grant,
    Measured,
    Progress,
    RefusedError,
    TransferStoppedError,
    WrongBytesError,
)
from gimle.asgard.transfer.partial import partial_path

from tests.sdk.blob_places import PLACES, Place, in_a_folder, in_s3, kill, moved

MIB = 1 << 20
UNDERWAY = 32 * MIB  # of one file at once
LARGE = 5 * UNDERWAY + 12_345


@pytest.fixture(scope="module", params=list(PLACES))
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp(request.param)) as place:
        yield place


@pytest.fixture
def blobs(place: Place) -> Iterator[Blobs]:
    with place.blobs() as blobs:
        yield blobs
        for blob in list(blobs.list()):
            blobs.delete(blob.name)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(os.urandom(MIB))
        file.write(os.urandom(LARGE % MIB))
    return path


def same(a: Path, b: Path) -> bool:
    return subprocess.run(["cmp", "-s", a, b], check=False).returncode == 0


def test_a_tree_of_all_sizes_comes_back_as_it_went(
    blobs: Blobs, large: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    sizes = {"empty": 0, "a b+ä&%20.txt": 1_000, "deep/er/one.npy": MIB, "mid": 20 * MIB}
    for name, size in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(size))
    (folder / "large.bin").symlink_to(large)
    (folder / ".x.asgard-part").write_bytes(b"of an unfinished download")
    told: list[Progress] = []
    total = sum(sizes.values()) + LARGE
    up = blobs.upload(folder, progress=told.append)
    assert (up.bytes, up.bytes_moved) == (total, total)
    assert told[-1].bytes_done == total
    names = sorted(f"results/{name}" for name in [*sizes, "large.bin"])
    assert sorted(blob.name for blob in up.blobs) == names
    assert [blob.name for blob in blobs.list("results/")] == names
    assert all(blob.state == "ready" and blob.sha256 for blob in up.blobs)
    assert blobs.stat("results/a b+ä&%20.txt").content_type == "text/plain"
    assert blobs.upload(folder).bytes_moved == 0, "all of it is there already"

    down = blobs.download("results", tmp_path / "out")
    assert down.bytes_moved == total
    for name in [*sizes, "large.bin"]:
        assert same(folder / name, tmp_path / "out/results" / name)
    assert not list((tmp_path / "out").rglob("*.asgard-part"))
    (tmp_path / "out/results/mid").write_bytes(b"damaged")
    assert blobs.download("results", tmp_path / "out").bytes_moved == sizes["mid"]
    assert same(folder / "mid", tmp_path / "out/results/mid")
    assert blobs.delete_all("results/").count == 5
    assert list(blobs.list()) == []


def test_names_are_made_as_cp_makes_them(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"x")
    (tmp_path / "y").write_bytes(b"y")
    a, y = tmp_path / "a", str(tmp_path / "y")
    cases: Sequence[tuple[Any, str | None, list[str]]] = [
        (y, None, ["y"]),
        (y, "run/other", ["run/other"]),
        (y, "below/", ["below/y"]),
        (a, "run/7", ["run/7/x"]),
        ([a, y], "both", ["both/a/x", "both/y"]),
        (y, unicodedata.normalize("NFD", "ä"), [unicodedata.normalize("NFC", "ä")]),
    ]
    for paths, name, expected in cases:
        assert [blob.name for blob in blobs.upload(paths, name).blobs] == expected
    down = blobs.download("both/a", tmp_path / "out")
    assert down.paths == (tmp_path / "out/a/x",)


def test_a_name_has_its_bytes_for_good(blobs: Blobs, large: Path, tmp_path: Path) -> None:
    small, other = tmp_path / "small", tmp_path / "other"
    small.write_bytes(b"some bytes")
    other.write_bytes(b"more bytes")
    blobs.upload(small, "taken")
    with pytest.raises(AlreadyExistsError) as refused:
        blobs.upload(other, "taken")
    assert (refused.value.kind, refused.value.id) == ("blob", "taken")
    with pytest.raises(AlreadyExistsError):
        blobs.upload(large, "taken")
    blobs.delete("taken")
    blobs.upload(other, "taken")
    with pytest.raises(NotFoundError, match="there is no blob gone"):
        blobs.delete("gone")


def test_a_copy_has_the_bytes_when_the_first_is_gone(
    blobs: Blobs, large: Path, tmp_path: Path
) -> None:
    first = blobs.upload(large, "first").blobs[0]
    copy = blobs.copy("first", "second")
    assert (copy.name, copy.size_bytes, copy.sha256) == ("second", LARGE, first.sha256)
    assert blobs.copy("first", "second") == copy
    blobs.delete("first")
    assert same(blobs.download("second", tmp_path).paths[0], large)
    (tmp_path / "other").write_bytes(b"other bytes")
    blobs.upload(tmp_path / "other", "other")
    with pytest.raises(AlreadyExistsError):
        blobs.copy("other", "second")


def test_what_cannot_be_uploaded_is_said_before_a_byte_moves(blobs: Blobs, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same").write_bytes(folder.encode())
    with pytest.raises(InvalidFieldError, match="would both be"):
        blobs.upload([tmp_path / "one/same", tmp_path / "two/same"])
    with pytest.raises(InvalidFieldError, match="has the step"):
        blobs.upload(tmp_path / "one/same", "../outside")
    with pytest.raises(FileNotFoundError):
        blobs.upload(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidFieldError, match="no file"):
        blobs.upload(tmp_path / "empty")
    assert list(blobs.list()) == []


def test_bytes_that_change_while_they_are_sent_never_become_a_blob(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "changing"
    file.write_bytes(b"a" * 2 * MIB)
    granted = ServiceUploads.whole

    def changed(self: ServiceUploads, files: Sequence[Measured]) -> Sequence[Grant | None]:
        grants = granted(self, files)
        file.write_bytes(b"b" * 2 * MIB)
        return grants

    with monkeypatch.context() as patched:
        patched.setattr(ServiceUploads, "whole", changed)
        with pytest.raises((WrongBytesError, RefusedError)):
            blobs.upload(file)
    with pytest.raises(NotFoundError):
        blobs.download("changing", tmp_path)
    assert blobs.upload(file).bytes_moved == 2 * MIB, "the name is free for what it is now"


def test_damaged_bytes_are_never_shown(
    place: Place, blobs: Blobs, large: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"all is well")
    for path in (small, large):
        (blob,) = blobs.upload(path).blobs
        place.damage(blob)
        with pytest.raises(WrongBytesError, match="digest"):
            blobs.download(path.name, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_killed_upload_goes_on(place: Place, blobs: Blobs, large: Path) -> None:
    first = place.moving("upload", large)
    deadline = time.monotonic() + 60
    if place.relay is not None:
        place.relay.reached.clear()
        place.relay.mark = place.relay.up + place.relay.down + LARGE * 7 // 10
        assert place.relay.reached.wait(60)
    else:
        parts = Path(place.storage, ".asgard/uploads/parts")
        while len(list(parts.glob("*/*"))) < 7:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    kill(first)
    with pytest.raises(BlobNotReadyError):
        blobs.download(large.name)
    sent = moved(place.moving("upload", large))
    assert 0 < sent <= LARGE - LARGE * 6 // 10 + UNDERWAY
    (blob,) = blobs.upload(large).blobs
    assert blob.state == "ready"


def test_a_killed_download_goes_on(large: Path, tmp_path: Path) -> None:
    with in_s3(tmp_path) as place, place.blobs() as blobs:
        assert place.relay is not None
        blobs.upload(large)
        before = place.relay.down
        place.relay.mark = place.relay.up + before + LARGE * 7 // 10
        first = place.moving("download", large.name, tmp_path / "out")
        assert place.relay.reached.wait(60)
        kill(first)
        target = tmp_path / "out/large.bin"
        assert not target.exists()
        moved(place.moving("download", large.name, tmp_path / "out"))
        assert place.relay.down - before <= LARGE + UNDERWAY + MIB, "over the wire in both"
        assert same(target, large)
        assert not partial_path(target).exists()


def test_what_arrived_before_a_kill_is_not_sent_again(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(40):
        (files / str(number)).write_bytes(os.urandom(1_000))

    def killed(self: ServiceUploads, files: Sequence[Measured]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ServiceUploads, "arrived", killed)
        with pytest.raises(KeyboardInterrupt):
            blobs.upload(files)
    waiting = [blob for blob in blobs.list() if blob.state == "uploading"]
    assert len(waiting) >= 8
    sent = blobs.upload(files)
    assert sent.bytes_moved <= (40 - 8) * 1_000
    assert {blob.state for blob in sent.blobs} == {"ready"}


def test_another_blob_of_the_same_name_does_not_mix_with_what_was_begun(
    blobs: Blobs, large: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(os.urandom(MIB) * (LARGE // MIB) + b"x" * (LARGE % MIB))
    blobs.upload(other, "large.bin")
    stop = threading.Event()

    def soon(now: Progress) -> None:
        if now.bytes_done > 20 * MIB:
            stop.set()

    with pytest.raises(TransferStoppedError):
        blobs.download("large.bin", tmp_path / "out", progress=soon, stop=stop)
    blobs.delete("large.bin")
    blobs.upload(large)
    blobs.download("large.bin", tmp_path / "out")
    assert same(large, tmp_path / "out/large.bin")


def test_two_who_upload_the_same_at_once_both_have_it(blobs: Blobs, large: Path) -> None:
    with ThreadPoolExecutor(2) as clients:
        first, second = clients.map(blobs.upload, [large, large])
    assert first.blobs == second.blobs
    assert first.blobs[0].state == "ready"


@pytest.mark.parametrize("name", ["", "/"])
def test_a_blob_has_a_name(blobs: Blobs, name: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(InvalidFieldError, match="name: is empty; give one"):
        blobs.upload(tmp_path / "f", name)


def test_thousands_of_small_files_go_in_few_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(2_000):
        (files / f"{number:04}").write_bytes(str(number).encode() * 50)
    calls: list[str] = []
    with in_a_folder(tmp_path) as place, place.blobs() as blobs:
        call = type(blobs._connection).call

        def counted(self: Any, method: str, request: Any, **more: Any) -> Any:
            calls.append(method)
            return call(self, method, request, **more)

        monkeypatch.setattr(type(blobs._connection), "call", counted)
        assert len(blobs.upload(files).blobs) == 2_000
        assert calls.count("CreateUploads") == calls.count("CompleteUploads") == 16
        assert len(calls) == 32
        calls.clear()
        assert len(blobs.download("files", tmp_path / "out").paths) == 2_000
        assert calls.count("CreateDownloads") == 16
        assert len(calls) == 16 + 3, "GetBlob, and two pages of ListBlobs"
    for path in files.iterdir():
        assert (tmp_path / "out/files" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("below", ["run/a/b", "run/a/b/c"])
def test_a_blob_and_others_below_it_are_not_one_folder(
    blobs: Blobs, below: str, tmp_path: Path
) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x")
    for name in ("run/a", below):
        blobs.upload(file, name)
    with pytest.raises(InvalidFieldError, match="one by one"):
        blobs.download("run", tmp_path / "out")
    assert blobs.download("run/a", tmp_path / "out").paths == (tmp_path / "out/a",)


def test_async_transfers_stop_when_they_are_cancelled(
    place: Place, blobs: Blobs, large: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell(now: Progress) -> None:
            if now.bytes_done:
                loop.call_soon_threadsafe(begun.set)

        async with AsyncBlobs(place.where) as client:
            upload = asyncio.create_task(client.upload(large, progress=tell))
            await begun.wait()
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
            assert (await client.upload(large)).bytes_moved < LARGE
            assert [blob.name async for blob in client.list()] == ["large.bin"]
            done = await client.download("large.bin", tmp_path)
            assert same(done.paths[0], large)
            assert (await client.copy("large.bin", "copy")).sha256 == done.blobs[0].sha256
            await client.delete("copy")
            await client.delete("large.bin")
            assert (await client.delete_all("x")).count == 0
            with pytest.raises(NotFoundError):
                await client.stat("large.bin")

    asyncio.run(main())


def test_nobody_there_is_said_in_time() -> None:
    with pytest.raises(StorageUnavailableError):
        Blobs("grpc://127.0.0.1:1", patience=0.2).stat("x")
    with pytest.raises(InvalidFieldError, match="grpc://host:port"):
        Blobs("http://127.0.0.1:1")
