"""What is said against assets, in SQL: the port `Flags`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asgard_server.asset.access_store import FlagEntry, FlagName
from asgard_server.asset.domain import Asset
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import access, asset_log, asset_rows, audit
from asgard_server.store.sql.session import Database, Session

_STEPS: dict[FlagName, str] = {
    "deprecated": "asset.deprecate",
    "invalidated": "asset.invalidate",
}
_COLUMNS: dict[FlagName, tuple[str, ...]] = {
    "deprecated": ("deprecated_at", "deprecated_by", "deprecated_reason"),
    "invalidated": (
        *("invalidated_at", "invalidated_by", "invalidated_reason"),
        "invalidated_with",
    ),
}


class SqlFlags:
    """The port `Flags` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(
        self, asset_id: str, flag: FlagName, reason: str, by: Principal, now: datetime
    ) -> Asset:
        """Set a flag, or replace its reason."""

        async def work(session: Session) -> Asset:
            asset = await _writable(session, asset_id, by)
            there = asset.deprecated if flag == "deprecated" else asset.invalidated
            if there is not None and (there.reason, there.retraction) == (reason, ""):
                return asset
            values = (micros(now), by.sub, reason, None)
            await _put(session, asset_id, flag, values, now)
            await _noted(session, asset, {flag: True}, reason, by, now)
            return await asset_rows.load(session, asset_id)

        return await self._database.write(work)

    async def clear(
        self,
        asset_id: str,
        flags: Sequence[FlagName],
        reason: str,
        by: Principal,
        now: datetime,
    ) -> Asset:
        """Take flags back, as far as they are set."""

        async def work(session: Session) -> Asset:
            asset = await _writable(session, asset_id, by)
            there = {"deprecated": asset.deprecated, "invalidated": asset.invalidated}
            gone = [flag for flag in flags if there[flag] is not None]
            for flag in gone:
                await _put(session, asset_id, flag, (None,) * 4, now)
            if gone:
                await _noted(session, asset, dict.fromkeys(gone, False), reason, by, now)
            return await asset_rows.load(session, asset_id)

        return await self._database.write(work)

    async def history(
        self, asset_id: str, by: Principal, below: int | None, limit: int
    ) -> list[FlagEntry]:
        """What was said against it, newest first, below a number."""

        async def work(session: Session) -> list[FlagEntry]:
            await access.require(session, "asset", asset_id, by, "read")
            further, values = ("", ()) if below is None else (" AND number < ?", (below,))
            rows = await session.all(
                "SELECT number, flag, is_set, reason, set_by, set_at FROM asset_flags"  # noqa: S608 - ours
                f" WHERE asset_id = ?{further} ORDER BY number DESC LIMIT ?",
                *(asset_id, *values, limit),
            )
            return [
                FlagEntry(number, flag, bool(is_set), why, who, moment(at))
                for number, flag, is_set, why, who, at in rows
            ]

        return await self._database.read(work)


async def _writable(session: Session, asset_id: str, by: Principal) -> Asset:
    await access.hold(session, "asset", asset_id)
    await access.require(session, "asset", asset_id, by, "write")
    return await asset_rows.load(session, asset_id)


async def _put(
    session: Session, asset_id: str, flag: FlagName, values: Sequence[object], now: datetime
) -> None:
    columns = _COLUMNS[flag]
    setting = ", ".join(f"{column} = ?" for column in columns)
    await session.run(
        f"UPDATE assets SET {setting}, updated_at = ? WHERE id = ?",  # noqa: S608 - ours
        *(*values[: len(columns)], micros(now), asset_id),
    )


async def _noted(
    session: Session,
    asset: Asset,
    flags: dict[FlagName, bool],
    reason: str,
    by: Principal,
    now: datetime,
) -> None:
    """The end of a change: history, audit, and last the log."""
    at = micros(now)
    for flag, is_set in flags.items():
        await session.run(
            "INSERT INTO asset_flags (asset_id, flag, is_set, reason, set_by, set_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(asset.id, flag, int(is_set), reason, by.sub, at),
        )
        step = _STEPS[flag] if is_set else "asset.reinstate"
        details = {"reason": reason, "flag": flag}
        await audit.note(
            session, by, step, "asset", asset.id, asset.organization_id, details, at=at
        )
    await asset_log.log_all(session, await asset_log.unchanged(session, [asset.id]))
