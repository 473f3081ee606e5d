"""What the sweeper and fsck ask of the tables of assets: the port `Upkeep`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from asgard_server.blob.holdings import Needed
from asgard_server.store.blob_rows import micros
from asgard_server.store.postgres_link import Link
from asgard_server.store.sql import asset_texts
from asgard_server.store.sql.among import among
from asgard_server.store.sql.assets import leave_release
from asgard_server.store.sql.session import Database, Session


class SqlUpkeep:
    """The port `Upkeep` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def overdue(self, before: datetime, limit: int) -> list[str]:
        """Pending assets of before then that nobody is to approve, or that are not whole."""

        async def overdue(session: Session) -> list[str]:
            rows = await session.all(
                "SELECT id FROM assets WHERE state = 'pending' AND created_at < ?"
                " AND (pending_reasons = '[]' OR (kind <> 'reference' AND size_bytes IS NULL))"
                " ORDER BY created_at LIMIT ?",
                *(micros(before), limit),
            )
            return [row[0] for row in rows]

        return await self._database.read(overdue)

    async def release(self, before: datetime, now: datetime, limit: int) -> int:
        """Remove the content of assets abandoned before then, and leave word that their blobs are
        to go; answer how many assets those were.
        """

        async def any_due(session: Session) -> bool:
            query = (
                "SELECT 1 FROM assets WHERE state = 'abandoned' AND released_at IS NULL"
                " AND abandoned_at < ? LIMIT 1"
            )
            return await session.value(query, micros(before)) is not None

        async def release(session: Session) -> int:
            rows = await session.all(
                "SELECT id FROM assets WHERE state = 'abandoned'"  # noqa: S608 - ours
                " AND released_at IS NULL"
                f" AND abandoned_at < ? ORDER BY id LIMIT ?{session.for_update}",
                *(micros(before), limit),
            )
            for (asset_id,) in rows:
                await session.run("DELETE FROM asset_contents WHERE asset_id = ?", asset_id)
                await asset_texts.forget_content(session, asset_id)
                await session.run(
                    "UPDATE assets SET released_at = ? WHERE id = ?", micros(now), asset_id
                )
                await leave_release(session, f"asset/{asset_id}", micros(now))
            return len(rows)

        # A folder that is only looked at stays as it was: nothing is written without need.
        return await self._database.write(release) if await self._database.read(any_due) else 0

    async def forget(self, before: datetime) -> None:
        """Forget ids that were deleted before then."""

        async def any_old(session: Session) -> bool:
            query = "SELECT 1 FROM deleted_ids WHERE deleted_at < ? LIMIT 1"
            return await session.value(query, micros(before)) is not None

        async def forget(session: Session) -> None:
            await session.run("DELETE FROM deleted_ids WHERE deleted_at < ?", micros(before))

        if await self._database.read(any_old):
            await self._database.write(forget)


class AssetClaims:
    """The port `Claimants` of fsck: assets claim the blobs of their components."""

    kind = "asset/"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def there(self, owners: Sequence[str]) -> set[str]:
        """Which of these are there."""

        async def there(session: Session) -> set[str]:
            chosen, keys = among(session, "id", [each.removeprefix(self.kind) for each in owners])
            rows = await session.all(f"SELECT id FROM assets WHERE {chosen}", keys)  # noqa: S608 - ours
            return {f"{self.kind}{row[0]}" for row in rows}

        return await self._database.read(there)

    async def needed(self, behind: str, limit: int) -> tuple[list[Needed], str]:
        """Blobs of assets that are ready, or whole and awaiting review, by their ids."""

        async def needed(session: Session) -> tuple[list[Needed], str]:
            rows = await session.all(
                "SELECT c.blob_id, c.asset_id FROM asset_components AS c"
                " JOIN assets AS a ON a.id = c.asset_id WHERE c.blob_id > ?"
                " AND a.kind = 'components' AND a.state <> 'abandoned'"
                " AND a.size_bytes IS NOT NULL ORDER BY c.blob_id LIMIT ?",
                *(behind, limit),
            )
            found = [Needed(blob_id, f"{self.kind}{asset_id}") for blob_id, asset_id in rows]
            return found, found[-1].blob_id if len(found) == limit else ""

        return await self._database.read(needed)


class OwnTurns:
    """The port `Turns` where one process has the file: it is always its turn."""

    async def turn(self, name: str) -> AsyncIterator[bool]:
        """Yields True."""
        yield True


class LinkTurns:
    """The port `Turns` over PostgreSQL's advisory locks."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def turn(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""
        return self._link.lock(name)
