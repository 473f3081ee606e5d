"""What grants and intents of arrays have in common, from the first byte to the sweeper.

Intent, bytes, document, in this order: whatever dies in between, the intent names what there is
to remove, and a document names only what has been looked at (docs/protocols.md 12).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from gimle.asgard.core.errors import StorageUnavailableError, UploadEndedError

from asgard_server.run.grants import Intent, Intents
from asgard_server.run.store import Documents, Key

# How long a grant holds.
SECONDS = 3_600
# A request that began in time may end later, and clocks differ.
MARGIN = timedelta(minutes=15)
# So often an intent is written anew because somebody else was faster.
TRIES = 10


async def live(intents: Intents, result_id: str) -> tuple[Intent, str]:
    """An intent that nobody sweeps, and its stamp. Raises `UploadEndedError`."""
    found = await intents.find(result_id)
    if found is None or found[0].swept:
        raise UploadEndedError(result_id, "given up")
    return found


async def is_stored(documents: Documents, result_id: str) -> bool:
    """Whether there is a document of this result."""
    return await documents.read(Key("result", result_id)) is not None


def until(clock: Callable[[], datetime]) -> datetime:
    """When a grant ends that is given out now."""
    return clock() + timedelta(seconds=SECONDS)


def busy(result_id: str) -> StorageUnavailableError:
    """What is raised where others were faster each time."""
    return StorageUnavailableError(result_id, "its uploads are being changed by others; try again")
