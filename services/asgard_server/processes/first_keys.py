"""A key made where keys are kept, by who can reach the database: for who has none to ask with."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from gimle.asgard.core.folder.layout import Layout
from gimle.asgard.core.folder.place import read_storage_id

from asgard_server.auth.principal import LOCAL
from asgard_server.identity.domain import Asked, KeyWish, User
from asgard_server.identity.keys import Keys
from asgard_server.identity.people import People
from asgard_server.identity.store import Rows
from asgard_server.processes.asset_service import tables_of
from asgard_server.processes.blob_service import TABLES
from asgard_server.settings import SettingError, Settings
from asgard_server.store.sql.identity import SqlDirectory
from asgard_server.store.sqlite_database import SqliteDatabase


async def first_key(settings: Settings, user: str) -> str:
    """Make a key of a user, who is made where they are not there; answer the key.

    Servers may run meanwhile. Raises `SettingError` where there is no database,
    `StorageUnavailableError`, `InvalidFieldError`, `AlreadyExistsError`, `NotFoundError`.
    """
    async with AsyncExitStack() as stack:
        file = None
        if settings.database_url is None:
            if not isinstance(settings.storage, Path):
                raise SettingError(
                    "ASGARD_DATABASE_URL",
                    f"is not set, and {settings.storage} is no folder that has a database in it",
                    "give the one of AssetService",
                )
            if read_storage_id(Layout(str(settings.storage))) is None:
                raise SettingError(
                    "ASGARD_STORAGE",
                    f"is {settings.storage}, which no server has begun to keep",
                    "check the folder, or start the server once",
                )
            file = await SqliteDatabase.open(settings.storage / TABLES)
            stack.push_async_callback(file.close)
        tables = await tables_of(settings, file, stack)
        directory = SqlDirectory(tables.database)
        asked = Asked(LOCAL, datetime.now(UTC))

        async def there(rows: Rows) -> User | None:
            return await rows.users.find(user)

        if await directory.look(there) is None:
            await People(directory, _nothing).create(asked, user, user, "", None)
        wish = KeyWish("asgard keys init", "user", None, None, None)
        return (await Keys(directory, _nothing).create(asked, wish, user))[1]


def _nothing() -> None:
    """Servers find out by themselves, within a second."""
