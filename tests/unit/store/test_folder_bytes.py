"""What the bytes of blobs in a folder say of its disk is what documents say of it."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asgard_server.store.folder_bytes import FolderBytes, files_below
from gimle.asgard.core.errors import (
    AsgardError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)


@pytest.mark.parametrize(
    ("why", "told"),
    [
        (errno.EROFS, StorageReadOnlyError),
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EIO, StorageUnavailableError),
    ],
)
async def test_a_refusal_of_the_disk_is_told_as_of_documents(
    tmp_path: Path, why: int, told: type[AsgardError]
) -> None:
    def refused() -> None:
        raise OSError(why, os.strerror(why), str(tmp_path / "blobs"))

    with ThreadPoolExecutor(1) as pool:
        lies = FolderBytes(tmp_path, pool)
        with pytest.raises(told), lies.speaking():
            await lies.in_pool(refused)  # said once, and passed on as it is


def test_folders_that_go_while_files_are_listed_are_no_error(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").write_bytes(b"bytes")
    found = []
    for path in files_below(tmp_path):
        found.append(path)
        for other in {"a", "b", "c"} - {path.parent.name}:
            shutil.rmtree(tmp_path / other, ignore_errors=True)
    assert len(found) == 1
