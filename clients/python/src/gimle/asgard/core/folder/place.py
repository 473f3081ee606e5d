"""Opening a storage folder: what makes it one, and how it is told from another."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from uuid import uuid4

import orjson
from gimle.asgard.core.documents import format_time
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder import files, refusals
from gimle.asgard.core.folder.layout import METADATA, Layout

FORMAT = 1


def open_place(layout: Layout, *, create: bool, durable: bool, now: datetime) -> str | None:
    """Make what is missing of a folder, and answer its storage id.

    The first of several who open it at once gives the id. None where the folder has none
    and cannot be written. Raises StorageUnavailableError.
    """
    if os.path.exists(layout.root) and not os.path.isdir(layout.root):
        raise StorageUnavailableError(layout.root, "it is a file; name a folder")
    if not create and not os.path.isdir(layout.root):
        raise StorageUnavailableError(layout.root, "there is no such folder; create it first")
    # Asked first: nothing is made in a place of a format that is not known here.
    storage_id = read_storage_id(layout)
    try:
        for folder in layout.folders:
            if not os.path.isdir(folder):
                os.makedirs(folder, exist_ok=True)
        if storage_id is None:
            body = {"format": FORMAT, "storage_id": str(uuid4()), "created_at": format_time(now)}
            files.create(layout.root, METADATA, orjson.dumps(body), durable=durable)
            storage_id = read_storage_id(layout)
    except OSError as error:
        if isinstance(error, StorageUnavailableError):
            raise
        readable = os.path.isdir(layout.root)
        if readable and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return storage_id
        raise refusals.unavailable(layout.root, error) from error
    return storage_id


def read_storage_id(layout: Layout) -> str | None:
    """The id in the folder's metadata, None when it has none.

    Raises StorageUnavailableError for a newer format, and where it may not be read.
    """
    try:
        body = files.read(layout.metadata)
    except OSError as error:
        raise refusals.unavailable(layout.root, error) from error
    if body is None:
        return None
    try:
        metadata = orjson.loads(body)
        version, storage_id = metadata.get("format", FORMAT), metadata.get("storage_id")
    except (ValueError, AttributeError) as error:
        raise StorageUnavailableError(
            layout.root, f"{METADATA} is not a JSON object ({error}); repair or remove it"
        ) from error
    if not isinstance(version, int) or version > FORMAT:
        raise StorageUnavailableError(
            layout.root,
            f"it has format {version}, this release knows {FORMAT}; upgrade gimle-asgard",
        )
    return storage_id if isinstance(storage_id, str) else None
