"""Telling a disk without room from one that is broken: SQLite says of both that they fail."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

# The least that SQLite writes at a time beside a database: the index of its log.
_ENOUGH_BYTES = 32 << 10


def is_for_want_of_room(error: sqlite3.Error, path: Path) -> bool:
    """Whether SQLite failed in the database at `path` because its disk is full."""
    code = getattr(error, "sqlite_errorcode", 0)  # errors of Python's module itself have none
    if code == sqlite3.SQLITE_FULL:
        return True
    return code & 0xFF == sqlite3.SQLITE_IOERR and _has_no_room(path.parent)


def _has_no_room(folder: Path) -> bool:
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _ENOUGH_BYTES
