"""Digests of bytes in a folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

# The digest of bytes lies beside them: a file cannot tell its own.
SUFFIX = ".sha256"
_ATTRIBUTE = "user.asgard.sha256"


def digest_path(path: Path) -> Path:
    """Where the digest of the bytes at `path` is noted."""
    return path.with_name(path.name + SUFFIX)


def note_digest(path: Path, sha256: str) -> None:
    """Note the digest of bytes that have just been placed, in a thread."""
    if path.parent.name != "files":
        digest_path(path).write_text(sha256)
        return
    # The folder of arrays is everybody's: there the file itself says it, as long as nobody has
    # let it grow. A file system that keeps no such attributes has the digest computed.
    with contextlib.suppress(OSError):
        os.setxattr(path, _ATTRIBUTE, f"{sha256} {_state(path.stat())}".encode())


def _state(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_mtime_ns}"


def computed(path: Path) -> str:
    """The digest of the bytes at `path`, read for it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def noted_digest(path: Path) -> str | None:
    """The digest that was noted of the bytes at `path`, None where none is."""
    if path.parent.name == "files":
        try:
            sha256, _, state = os.getxattr(path, _ATTRIBUTE).decode().partition(" ")
            return sha256 if state == _state(path.stat()) else None
        except OSError:
            return None
    try:
        return digest_path(path).read_text() or None
    except FileNotFoundError:
        return None


def made_digest(path: Path) -> str | None:
    """The digest of bytes whose writer died, or found the disk full, before it noted it."""
    digest = computed(path)
    with contextlib.suppress(OSError):
        digest_path(path).write_text(digest)
    return digest
