"""The files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from gimle.asgard.transfer.grants import Outgoing

_name = attrgetter("name")


def tree(folder: Path, prefix: str) -> Iterator[Outgoing]:
    """Every file below a folder, named `prefix/` and its path inside. Raises OSError.

    Links to files are files; those to folders are not followed.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=_name)
    for entry in entries:
        name = f"{prefix}/{entry.name}".lstrip("/")
        if entry.is_dir(follow_symlinks=False):
            yield from tree(Path(entry.path), name)
        elif entry.is_file():
            yield Outgoing(Path(entry.path), name)
