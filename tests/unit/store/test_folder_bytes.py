"""What the bytes of blobs in a folder say of its disk is what documents say of it."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asgard_server.store.folder_bytes import FolderBytes
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
