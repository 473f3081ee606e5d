"""The versions of named assets, and moves of their aliases: the port `Versions`."""

from __future__ import annotations

from datetime import datetime

from gimle.asgard.core.asset_errors import AssetStateError
from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.asset.domain import Asset
from asgard_server.asset.store import AliasMove
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import access, asset_log, asset_rows, asset_series, audit
from asgard_server.store.sql.session import Database, Session


class SqlVersions:
    """The port `Versions` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def versions(
        self, asset_id: str, by: Principal, below: int | None, limit: int
    ) -> list[Asset]:
        """Versions that the caller may read, newest first, those below a number."""

        async def versions(session: Session) -> list[Asset]:
            asset = await _readable(session, asset_id, by)
            if asset.series_id is None:
                return [asset] if below is None else []
            may, keys = access.readable(session, "asset", "o.id", by)
            further, values = ("", ()) if below is None else (" AND o.version < ?", (below,))
            rows = await session.all(
                f"SELECT o.id FROM assets AS o WHERE o.series_id = ?{further} AND {may}"  # noqa: S608 - ours
                " ORDER BY o.version DESC LIMIT ?",
                *(asset.series_id, *values, *keys, limit),
            )
            return await asset_rows.load_many(session, [row[0] for row in rows])

        return await self._database.read(versions)

    async def moves(self, asset_id: str, by: Principal, limit: int) -> list[AliasMove]:
        """How its aliases moved, newest first, over versions that the caller may read."""

        async def moves(session: Session) -> list[AliasMove]:
            asset = await _readable(session, asset_id, by)
            may, keys = access.readable(session, "asset", "o.id", by)
            rows = await session.all(
                "SELECT h.alias, h.asset_id, h.set_by, h.set_at"  # noqa: S608 - ours
                " FROM asset_alias_history AS h"
                " LEFT JOIN assets AS o ON o.id = h.asset_id WHERE h.series_id = ?"
                f" AND (h.asset_id IS NULL OR (o.id IS NOT NULL AND {may}))"
                " ORDER BY h.number DESC LIMIT ?",
                *(asset.series_id or "", *keys, limit),
            )
            return [AliasMove(alias, to, who, moment(at)) for alias, to, who, at in rows]

        return await self._database.read(moves)

    async def point(self, asset_id: str, alias: str, by: Principal, now: datetime) -> Asset:
        """Let an alias point here. Raises `AssetStateError`, `InvalidFieldError`."""

        async def work(session: Session) -> Asset:
            asset = await _writable(session, asset_id, by)
            if asset.series_id is None:
                raise InvalidFieldError("asset_id", "has no name", "aliases are of named assets")
            if asset.state != "ready":
                raise AssetStateError(asset.id, asset.state, "only a ready version has aliases")
            await asset_series.hold(session, asset.series_id)
            before = await asset_series.pointed_at(session, asset.series_id, alias)
            if before == asset_id:
                return asset
            if before is not None:
                await access.require(session, "asset", before, by, "write")
            await asset_series.point(session, asset.series_id, alias, asset_id, by.sub, now)
            await _told(session, asset, "asset.alias", alias, by, now, before)
            return await asset_rows.load(session, asset_id)

        return await self._database.write(work)

    async def unpoint(self, asset_id: str, alias: str, by: Principal, now: datetime) -> bool:
        """Remove an alias that points here; whether it was there."""

        async def work(session: Session) -> bool:
            asset = await _writable(session, asset_id, by)
            if asset.series_id is None:
                return False
            await asset_series.hold(session, asset.series_id)
            if await asset_series.pointed_at(session, asset.series_id, alias) != asset_id:
                return False
            await asset_series.point(session, asset.series_id, alias, None, by.sub, now)
            await _told(session, asset, "asset.unalias", alias, by, now, None)
            return True

        return await self._database.write(work)


async def _readable(session: Session, asset_id: str, by: Principal) -> Asset:
    await access.require(session, "asset", asset_id, by, "read")
    return await asset_rows.load(session, asset_id)


async def _writable(session: Session, asset_id: str, by: Principal) -> Asset:
    await access.hold(session, "asset", asset_id)
    await access.require(session, "asset", asset_id, by, "write")
    return await asset_rows.load(session, asset_id)


async def _told(
    session: Session,
    asset: Asset,
    step: str,
    alias: str,
    by: Principal,
    now: datetime,
    other: str | None,
) -> None:
    at = micros(now)
    await audit.note(
        session, by, step, "asset", asset.id, asset.organization_id, {"alias": alias}, at=at
    )
    changed = [each for each in (other, asset.id) if each is not None]
    await asset_log.log_all(session, await asset_log.unchanged(session, changed))
