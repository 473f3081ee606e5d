"""Named assets: their versions, and the aliases that point at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.ids import new_id

from asgard_server.asset.domain import Asset
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import access, asset_rows
from asgard_server.store.sql.scopes import scope_of
from asgard_server.store.sql.session import Session

LATEST = "latest"


async def numbered(session: Session, asset: Asset) -> Asset:
    """A new asset with its version, where it has a name: the next one of its owner's."""
    if asset.name is None:
        return asset
    row = await session.one(
        "INSERT INTO asset_series (id, scope_id, name, versions) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (scope_id, name) DO UPDATE SET versions = asset_series.versions + 1"
        " RETURNING id, versions",
        *(new_id(asset.created_at), asset.scope_id, asset.name),
    )
    assert row is not None  # noqa: S101 - it was just written
    return replace(asset, series_id=row[0], version=row[1])


async def moved_latest(
    session: Session, series_id: str, by: str, now: datetime, *, besides: str = ""
) -> list[str]:
    """Let "latest" point at the newest version that is ready; answer which assets that changes.

    `besides`: one that is about to go.
    """
    await hold(session, series_id)
    newest = await session.value(
        "SELECT id FROM assets WHERE series_id = ? AND state = 'ready' AND id <> ?"
        " ORDER BY version DESC LIMIT 1",
        *(series_id, besides),
    )
    before = await pointed_at(session, series_id, LATEST)
    if newest == before:
        return []
    await point(session, series_id, LATEST, newest, by, now)
    return [each for each in (before, newest) if each is not None]


async def hold(session: Session, series_id: str) -> None:
    """Keep others from moving aliases until the transaction ends."""
    await session.value(f"SELECT 1 FROM asset_series WHERE id = ?{session.for_update}", series_id)  # noqa: S608 - ours


async def pointed_at(session: Session, series_id: str, alias: str) -> str | None:
    """The asset that an alias points at."""
    found: str | None = await session.value(
        "SELECT asset_id FROM asset_aliases WHERE series_id = ? AND alias = ?", series_id, alias
    )
    return found


async def point(
    session: Session, series_id: str, alias: str, asset_id: str | None, by: str, now: datetime
) -> None:
    """Let an alias point at an asset, or at none, and note that it did."""
    if asset_id is None:
        await session.run(
            "DELETE FROM asset_aliases WHERE series_id = ? AND alias = ?", series_id, alias
        )
    else:
        await session.run(
            "INSERT INTO asset_aliases (series_id, alias, asset_id) VALUES (?, ?, ?)"
            " ON CONFLICT (series_id, alias) DO UPDATE SET asset_id = excluded.asset_id",
            *(series_id, alias, asset_id),
        )
    await session.run(
        "INSERT INTO asset_alias_history (series_id, alias, asset_id, set_by, set_at)"
        " VALUES (?, ?, ?, ?, ?)",
        *(series_id, alias, asset_id, by, micros(now)),
    )


async def leave(session: Session, asset: Asset, by: str, now: datetime) -> None:
    """Let no alias but "latest", which moves, point at an asset that goes."""
    if asset.series_id is None:
        return
    await hold(session, asset.series_id)
    # Until then somebody may have moved one of them to another version, where it stays.
    for alias in (await asset_rows.aliases(session, [asset])).get(asset.id, ()):
        if alias != LATEST:
            await point(session, asset.series_id, alias, None, by, now)


async def named(session: Session, text: str, by: Principal) -> str:
    """The id of what is called `name@alias`, `name@3` or `@alice/name`, and the caller may read.

    Raises `NotFoundError` with that name: of what is not the caller's to see not even the id is
    told.
    """
    whole, _, version = text.partition("@") if not text.startswith("@") else _after_handle(text)
    for scope_id, name in await _meant(session, whole, by):
        series = await session.value(
            "SELECT id FROM asset_series WHERE scope_id = ? AND name = ?", scope_id, name
        )
        if series is None:
            continue
        found = await _version(session, series, version or LATEST)
        if found is not None and "read" in await access.actions(session, "asset", found, by):
            return found
    raise NotFoundError("asset", text)


def _after_handle(text: str) -> tuple[str, str, str]:
    name, at, version = text[1:].partition("@")
    return f"@{name}", at, version


async def _version(session: Session, series_id: str, version: str) -> str | None:
    if version.isdecimal() and len(version) < 10:
        found: str | None = await session.value(
            "SELECT id FROM assets WHERE series_id = ? AND version = ?", series_id, int(version)
        )
        return found
    return await pointed_at(session, series_id, version)


async def _meant(session: Session, whole: str, by: Principal) -> Sequence[tuple[str, str]]:
    """Owner and name as they may be meant: a handle may stand before the name."""
    meant: list[tuple[str, str]] = []
    steps = whole.split("/")
    length = 1 if whole.startswith("@") else 2
    if len(steps) > length and (length == 1 or steps[0] in ("o", "t")):
        scope = await scope_of(session, "/".join(steps[:length]))
        if scope is not None:
            meant.append((scope.id, "/".join(steps[length:])))
    meant.append((by.sub, whole))
    return meant
