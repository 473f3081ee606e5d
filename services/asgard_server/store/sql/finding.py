"""Search and lineage in SQL: the port `Finding`."""

from __future__ import annotations

from asgard_server.asset.access_store import Found, Lineage, Place, Wanted
from asgard_server.auth.principal import Principal
from asgard_server.store.sql.lineage import lineage
from asgard_server.store.sql.search import search
from asgard_server.store.sql.session import Database


class SqlFinding:
    """The port `Finding` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(
        self, wanted: Wanted, by: Principal, behind: Place | None, limit: int
    ) -> Found:
        """What fits, the best first, behind a place."""
        return await self._database.read(lambda session: search(session, wanted, by, behind, limit))

    async def lineage(
        self, asset_id: str, by: Principal, *, up: bool, down: bool, depth: int
    ) -> Lineage:
        """What is within `depth` steps."""
        return await self._database.read(
            lambda session: lineage(session, asset_id, by, up=up, down=down, depth=depth)
        )
