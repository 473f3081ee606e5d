"""Small files in a row: they arrive, each once, also where rows are cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from gimle.asgard.transfer import DirectUploads, tree, upload

from tests.engines import minio, versitygw
from tests.engines.s3_store import Store
from tests.sdk.blob_places import in_a_folder, in_s3
from tests.sdk.moving import bucket_at
from tests.sdk.relay import a_relay

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
COUNT = 300


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Small files, an empty one, and one that fits no row."""
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    for number in range(COUNT):
        (folder / f"deep/{number:03}.json").write_bytes(os.urandom(number * 7))
    (folder / "larger").write_bytes(os.urandom(100_000))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("lost", [0, 5])
@pytest.mark.parametrize("name", STORES)
def test_small_files_arrive_at_a_store(name: str, lost: int, files: Path) -> None:
    store = STORES[name]()
    with a_relay(store.port) as relay:
        bucket = bucket_at(relay.port, store.bucket())
        relay.lost = lost
        done = upload(tree(files, "x"), DirectUploads(bucket))
        assert relay.lost == 0
        assert done.files == COUNT + 1
        found = {one.key: bucket.head(one.key).digest for one in bucket.list("x/")}
    assert {
        key.removeprefix("x/"): digest.value.hex() for key, digest in found.items() if digest
    } == digests(files)


@pytest.mark.parametrize("lost", [0, 5])
def test_small_files_arrive_through_blob_service(lost: int, files: Path, tmp_path: Path) -> None:
    with in_s3(tmp_path) as place:
        assert place.relay is not None
        place.relay.lost = lost
        done = place.blobs().upload(files, "x")
        assert place.relay.lost == 0
        assert {blob.name.removeprefix("x/"): blob.sha256 for blob in done.blobs} == digests(files)
        assert all(blob.sha256_verified for blob in done.blobs)
        place.blobs().download("x", tmp_path / "out")
    assert digests(tmp_path / "out/x") == digests(files)


def test_small_files_arrive_in_a_folder(files: Path, tmp_path: Path) -> None:
    with in_a_folder(tmp_path) as place:
        done = place.blobs().upload(files, "x")
        assert {blob.name.removeprefix("x/"): blob.sha256 for blob in done.blobs} == digests(files)
