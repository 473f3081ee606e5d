"""`asgard models push`: what of a folder goes into the store, and what ends a push before it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.engines import minio
from tests.sdk.model_shop import COMMIT, FOLDER, ID, Shop, make_cache


@pytest.fixture
def minio_shop() -> Shop:
    return Shop(minio.server())


def test_all_files_of_a_snapshot_go_and_of_a_folder_those_that_are_not_hidden(
    minio_shop: Shop, tmp_path: Path
) -> None:
    cache = make_cache(tmp_path / "cache")
    (cache / FOLDER / "snapshots" / COMMIT / ".gitattributes").write_bytes(b"*.bin lfs\n")
    (cache / FOLDER / "snapshots" / COMMIT / ".hidden").mkdir()
    (cache / FOLDER / "snapshots" / COMMIT / ".hidden" / "a").write_bytes(b"a")
    minio_shop.run("push", str(cache))
    home = tmp_path / "home"
    minio_shop.run("pull", ID, "--to", str(home))
    snapshot = home / FOLDER / "snapshots" / COMMIT
    assert (snapshot / ".gitattributes").read_bytes() == b"*.bin lfs\n"
    assert (snapshot / ".hidden" / "a").read_bytes() == b"a"
    cloned = tmp_path / "cloned"
    for name in ("config.json", ".git/HEAD", ".git/lfs/objects/aa/bb", ".cache/huggingface/x"):
        (cloned / name).parent.mkdir(parents=True, exist_ok=True)
        (cloned / name).write_bytes(b"{}")
    minio_shop.run("push", str(cloned), "--name", "acme/cloned")
    (listed, _) = json.loads(minio_shop.run("ls", "--json"))
    assert (listed["id"], listed["snapshots"][0]["files"]) == ("acme/cloned", 1)


def test_a_folder_that_cannot_be_read_ends_a_push_before_anything_is_sent(
    minio_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "cache")
    closed = cache / FOLDER / "snapshots" / COMMIT / "nested"
    scandir = os.scandir

    # As for somebody who is not root, to whom every folder is open.
    def refusing(path: os.PathLike[str]) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    said = minio_shop.run("push", str(cache), status=1)
    assert f"{closed}: Permission denied" in said
    assert minio_shop.keys() == []


def test_only_references_to_what_is_pushed_go_along(minio_shop: Shop, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    refs = cache / FOLDER / "refs"
    (refs / "refs" / "pr").mkdir(parents=True)
    (refs / "refs" / "pr" / "1").write_text(COMMIT)
    (refs / "unfinished").write_text("1" * 40)
    (refs / "empty").write_bytes(b"")
    (refs / "garbled").write_bytes(bytes(range(256)) * 9)
    minio_shop.run("push", str(cache))
    (listed,) = json.loads(minio_shop.run("ls", "--json"))
    assert listed["refs"] == ["main", "refs/pr/1"]


def test_a_model_is_pushed_from_inside_of_its_folder(
    minio_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_cache(tmp_path / "cache") / FOLDER)
    assert ID in minio_shop.run("push", ".")
