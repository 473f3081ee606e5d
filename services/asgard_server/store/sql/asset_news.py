"""The change log of assets and experiments as it is watched: the port `Log`."""

from __future__ import annotations

from asgard_server.access.domain import Kind
from asgard_server.asset.access_store import LogEntry, LogNews, Readable, RevisionGoneError
from asgard_server.auth.principal import Principal
from asgard_server.store.sql import access, asset_log, asset_rows
from asgard_server.store.sql.among import among
from asgard_server.store.sql.principals import principals
from asgard_server.store.sql.readable import TABLES
from asgard_server.store.sql.session import Database, Session


class SqlLog:
    """The port `Log` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> tuple[str, int]:
        """The log's epoch, and its newest revision."""
        epoch, revision, _ = await self._database.look(asset_log.head)
        return epoch, revision

    async def news(self, epoch: str, revision: int, limit: int) -> LogNews:
        """Entries that follow a revision."""

        async def news(session: Session) -> LogNews:
            now, head, trimmed = await asset_log.head(session)
            if now == epoch and revision < trimmed:
                raise RevisionGoneError
            entries = [
                LogEntry(number, each.kind, each.id, frozenset(each.before), frozenset(each.after))
                for number, each in await asset_log.behind(session, revision, limit)
            ]
            there: dict[tuple[Kind, str], Readable] = {}
            for kind in TABLES:
                ids = sorted({each.id for each in entries if each.kind == kind})
                there.update({(kind, each.id): each for each in await _now(session, kind, ids)})
            return LogNews(now, head, entries, there)

        return await self._database.read(news)

    async def walk(
        self, kind: Kind, by: Principal, behind: tuple[int, str] | None, limit: int
    ) -> tuple[list[Readable], tuple[int, str] | None]:
        """What the caller may read, newest first, and where to go on; None at the end."""

        async def walk(session: Session) -> tuple[list[Readable], tuple[int, str] | None]:
            page = await access.page(session, kind, by, behind, limit)
            found = await _now(session, kind, [id for _, id in page])
            return found, page[-1] if len(page) == limit else None

        return await self._database.read(walk)

    async def trim(self, keep: int) -> None:
        """Forget all but the newest entries."""
        await self._database.write(lambda session: asset_log.trim(session, keep))


async def _now(session: Session, kind: Kind, ids: list[str]) -> list[Readable]:
    """These objects as far as they are there, with who may read them."""
    if not ids:
        return []
    named = await principals(session, "readers", kind, ids)
    readers = {id: frozenset(found) for id, found in named.items()}
    if kind == "asset":
        assets = await asset_rows.load_many(session, ids)
        return [Readable(kind, each.id, readers[each.id], each) for each in assets]
    chosen, values = among(session, "id", ids)
    rows = await session.all(f"SELECT id FROM {TABLES[kind]} WHERE {chosen}", values)  # noqa: S608 - ours
    return [Readable(kind, row[0], readers[row[0]], None) for row in rows]
