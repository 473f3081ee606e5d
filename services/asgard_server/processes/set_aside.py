"""What was set aside in the outbox, for whoever looks after it: beside services that go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.processes.asset_service import tables_of
from asgard_server.settings import S3Prefix, Settings
from asgard_server.store.sql.outbox import Aside, SqlOutbox
from asgard_server.store.sqlite_database import SqliteDatabase

_DATABASE = "asgard.sqlite3"
_PAGE = 500


async def set_aside(settings: Settings) -> list[Aside]:
    """All that was set aside. Raises `StorageUnavailableError`, `SettingError`."""
    found: list[Aside] = []
    async with _outbox(settings) as outbox:
        while page := await outbox.list_aside(found[-1].number if found else 0, _PAGE):
            found += page
    return found


async def retry(settings: Settings, numbers: list[int]) -> int:
    """Deliver these again, all without numbers; answer how many. Raises as `set_aside` does."""
    async with _outbox(settings) as outbox:
        return await outbox.retry(numbers, datetime.now(UTC))


@asynccontextmanager
async def _outbox(settings: Settings) -> AsyncIterator[SqlOutbox]:
    async with AsyncExitStack() as stack:
        file = None
        if settings.database_url is None and not isinstance(settings.storage, S3Prefix):
            path = Path(settings.storage) / _DATABASE
            if not await asyncio.to_thread(path.exists):
                raise StorageUnavailableError(str(path), "it is not there; name another --storage")
            file = await SqliteDatabase.open(path)
            stack.push_async_callback(file.close)
        yield SqlOutbox((await tables_of(settings, file, stack)).database)
