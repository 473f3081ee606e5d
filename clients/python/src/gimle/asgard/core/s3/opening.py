"""Opening a storage in S3: what makes a prefix one, and how it is told from another."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import orjson
from gimle.asgard.core.documents import format_time
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder.layout import METADATA
from gimle.asgard.core.folder.place import FORMAT
from gimle.asgard.core.s3.objects import Objects
from gimle.asgard.core.s3.place import Place


def open_place(objects: Objects) -> str | None:
    """Read the storage's id; the first of several who open a new one gives it.

    Raises StorageUnavailableError.
    """
    found = objects.get(METADATA)
    if found is None:
        made = {
            "format": FORMAT,
            "storage_id": str(uuid4()),
            "created_at": format_time(datetime.now(UTC)),
        }
        objects.create(METADATA, orjson.dumps(made))
        found = objects.get(METADATA)
    return storage_id(found.body if found is not None else b"{}", objects.place)


def storage_id(body: bytes, place: Place) -> str | None:
    """The id in a storage's metadata, None when it has none.

    Raises StorageUnavailableError when it is of a newer format, or broken.
    """
    try:
        said = orjson.loads(body)
        version, id = said.get("format", FORMAT), said.get("storage_id")
    except (ValueError, AttributeError) as error:
        raise StorageUnavailableError(
            str(place), f"{METADATA} is not a JSON object ({error}); repair or remove it"
        ) from error
    if not isinstance(version, int) or version > FORMAT:
        mend = f"it has format {version}, this release knows {FORMAT}; upgrade gimle-asgard"
        raise StorageUnavailableError(str(place), mend)
    return id if isinstance(id, str) else None
