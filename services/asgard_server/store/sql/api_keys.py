"""API keys in SQL: what is known of them, and never the keys."""

from __future__ import annotations

from datetime import datetime

from asgard_server.auth.principal import RunScope
from asgard_server.identity.domain import ApiKey
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql.session import Row, Session

_COLUMNS = (
    "id, hash, kind, name, shown, sub, experiment_id, variation, run, created_at, created_by,"
    " expires_at, revoked_at"
)
_SELECT = f"SELECT {_COLUMNS} FROM api_keys"  # noqa: S608 - ours


class SqlKeys:
    """API keys."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, key: ApiKey) -> None:
        """Add a row."""
        run = key.run
        await self._session.run(
            f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - ours
            key.id,
            key.hash,
            key.kind,
            key.name,
            key.shown,
            key.sub,
            None if run is None else run.experiment_id,
            None if run is None else run.variation,
            None if run is None else run.run,
            micros(key.created_at),
            key.created_by,
            None if key.expires_at is None else micros(key.expires_at),
            None if key.revoked_at is None else micros(key.revoked_at),
        )

    async def find(self, id: str) -> ApiKey | None:
        """Look up by id."""
        return _key(await self._session.one(f"{_SELECT} WHERE id = ?", id))

    async def hashed(self, hash: str) -> ApiKey | None:
        """Look up by the SHA-256 of the key."""
        return _key(await self._session.one(f"{_SELECT} WHERE hash = ?", hash))

    async def page(self, sub: str, behind: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
        """A user's, newest first."""
        condition, values = "", []
        if behind is not None:
            condition, values = "AND (created_at, id) < (?, ?) ", [micros(behind[0]), behind[1]]
        rows = await self._session.all(
            f"{_SELECT} WHERE sub = ? {condition}ORDER BY created_at DESC, id DESC LIMIT ?",
            sub,
            *values,
            limit,
        )
        return [key for row in rows if (key := _key(row)) is not None]

    async def revoke(self, id: str, at: datetime) -> None:
        """End one, unless it has ended."""
        await self._session.run(
            "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
            micros(at),
            id,
        )

    async def revoke_all(self, sub: str, at: datetime) -> list[str]:
        """End all of a user."""
        rows = await self._session.all(
            "UPDATE api_keys SET revoked_at = ? WHERE sub = ? AND revoked_at IS NULL RETURNING id",
            micros(at),
            sub,
        )
        return sorted(row[0] for row in rows)


def _key(row: Row | None) -> ApiKey | None:
    if row is None:
        return None
    id, hash, kind, name, shown, sub, experiment_id, variation, run, *times = row
    created_at, created_by, expires_at, revoked_at = times
    return ApiKey(
        id=id,
        hash=hash,
        kind=kind,
        name=name,
        shown=shown,
        sub=sub,
        run=None if experiment_id is None else RunScope(experiment_id, variation, run),
        created_at=moment(created_at),
        created_by=created_by,
        expires_at=None if expires_at is None else moment(expires_at),
        revoked_at=None if revoked_at is None else moment(revoked_at),
    )
