"""A disk without room, a real one: nothing is half there, and it can be deleted from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard.core.errors import StorageFullError
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.folder.reserve import SIZE

from tests.contract.storage_writers import a_result, a_run
from tests.engines.small_disk import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 32 << 20) as disk:
        yield disk


def reserve(folder: Folder) -> Path:
    return Path(folder.path) / ".asgard" / "deleting" / "_reserve"


def test_a_full_disk_refuses_saves_and_can_be_deleted_from(disk: SmallDisk) -> None:
    folder = Folder(disk.path / "storage")
    run, results = folder.create_run(
        run := a_run(), [a_result(run.id, {"x": np.arange(2000)}) for _ in range(20)]
    )
    other, _ = folder.create_run(a_run())
    disk.fill()
    with pytest.raises(StorageFullError):
        folder.create_run(a_run())
    with pytest.raises(StorageFullError):
        folder.update_run(other.id, lambda old: replace(old, note="n" * 8192))
    # One of the list first: its run is written anew, which needs room too.
    folder.delete_result(results[0].id)
    assert folder.read_run(run.id).results == tuple(result.id for result in results[1:])
    folder.delete_run(run.id)
    assert os.listdir(f"{folder.path}/runs") == [f"{other.id}.json"]
    assert os.listdir(f"{folder.path}/results") == os.listdir(f"{folder.path}/files") == []
    assert folder.fsck().findings == []


def test_a_result_for_whose_listing_there_is_no_room_is_not_there(disk: SmallDisk) -> None:
    folder = Folder(disk.path / "storage")
    run, _ = folder.create_run(a_run())
    folder.update_run(run.id, lambda old: replace(old, note="n" * 20_000))
    disk.fill(leave=8192)
    with pytest.raises(StorageFullError):
        folder.add_result(a_result(run.id, {}))
    assert folder.ids("result") == []
    assert folder.read_run(run.id).results == ()
    assert folder.fsck().findings == []


def test_the_room_is_kept_back_again_as_soon_as_there_is_some(disk: SmallDisk) -> None:
    folder = Folder(disk.path / "storage")
    assert reserve(folder).stat().st_blocks * 512 >= SIZE
    first, second = (folder.create_run(a_run())[0] for _ in range(2))
    disk.fill()
    folder.delete_run(first.id)
    assert not reserve(folder).exists()
    disk.make_room()
    folder.keep_room()
    assert reserve(folder).exists()
    folder.delete_run(second.id)
    assert reserve(folder).stat().st_blocks * 512 >= SIZE
    assert folder.fsck().findings == []


def test_room_is_not_given_to_whoever_saves_at_that_moment(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(disk.path / "storage")
    run, _ = folder.create_run(a_run())
    disk.fill()
    rename, remove = os.rename, os.unlink

    def then_fill(work: Any, *arguments: Any, **named: Any) -> Any:
        answer = work(*arguments, **named)
        disk.fill()
        return answer

    monkeypatch.setattr(os, "rename", partial(then_fill, rename))
    monkeypatch.setattr(os, "unlink", partial(then_fill, remove))
    folder.delete_run(run.id)
    assert folder.ids("run") == []


def test_a_disk_with_little_room_is_left_what_it_has(disk: SmallDisk) -> None:
    Folder(disk.path / "storage").close()
    reserve(folder := Folder(disk.path / "storage")).unlink()
    disk.fill(leave=2 * SIZE)
    assert not reserve(Folder(folder.path)).exists()
