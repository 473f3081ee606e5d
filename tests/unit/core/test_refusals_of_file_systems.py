"""What a file system refuses is told by its mend: wait, make room, or allow to write."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from gimle.asgard.core.errors import (
    AsgardError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from gimle.asgard.core.folder.refusals import unavailable


@pytest.mark.parametrize(
    ("number", "path", "kind", "words"),
    [
        (errno.EROFS, "there", StorageReadOnlyError, "mounted for reading only"),
        (errno.EACCES, "there", StorageReadOnlyError, "allow this user to write there"),
        (errno.EPERM, "not/yet", StorageReadOnlyError, "allow this user to write there"),
        (errno.ENOSPC, "there", StorageFullError, "make room"),
        (errno.EDQUOT, "there", StorageFullError, "make room"),
        (errno.ENOENT, "gone", StorageUnavailableError, "moved or unmounted"),
        (errno.EIO, "there", StorageUnavailableError, os.strerror(errno.EIO)),
    ],
)
def test_a_refusal_is_told_by_its_mend(
    tmp_path: Path, number: int, path: str, kind: type[AsgardError], words: str
) -> None:
    (tmp_path / "there").write_text("{}")
    said = unavailable(str(tmp_path), OSError(number, os.strerror(number), str(tmp_path / path)))
    assert type(said) is kind
    assert words in str(said)
    assert str(tmp_path) in str(said)


def test_what_may_not_even_be_read_is_no_matter_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may always
    said = unavailable(str(tmp_path), PermissionError(errno.EACCES, "denied", str(tmp_path)))
    assert type(said) is StorageUnavailableError
    assert "read and write" in str(said)
