"""The files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gimle.asgard.core.walking import below
from gimle.asgard.transfer.errors import TransferError
from gimle.asgard.transfer.grants import Outgoing


def tree(folder: Path, prefix: str) -> Iterator[Outgoing]:
    """Every file below a folder, named `prefix/` and its path inside.

    Links to files are files; those to folders are not followed. Raises OSError for what cannot be
    read, TransferError for a link to nothing, or what else is no file.
    """
    start = len(os.path.join(folder, ""))
    for entry in below(folder):
        if entry.is_file():
            yield Outgoing(Path(entry.path), f"{prefix}/{entry.path[start:]}".lstrip("/"))
        elif not entry.is_dir():
            raise TransferError(
                f"{entry.path} is neither a file nor a folder: remove it, or send what is beside it"
            )
