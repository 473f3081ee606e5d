"""Bytes that arrive are written where they belong, and what goes wrong there is told of by name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from gimle.asgard.transfer.arriving import written


def test_a_chunk_is_written_whole_at_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, chunk, at: write(file, chunk[:3], at))
    with (tmp_path / "f").open("wb", buffering=0) as file:
        written(file.fileno(), memoryview(b"0123456789"), 5, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"\0" * 5 + b"0123456789"


def test_a_full_disk_names_the_file() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match=r"run-7/one\.npy") as caught,
    ):
        written(full.fileno(), memoryview(b"x"), 0, Path("run-7/one.npy"))
    assert caught.value.errno == errno.ENOSPC
