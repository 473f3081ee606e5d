"""Rows of assets as tuples of columns, and how they are read with what belongs to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import Action, allowed
from asgard_server.asset.domain import Asset, Component, Flag, OutputOf
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import access
from asgard_server.store.sql.among import among
from asgard_server.store.sql.session import Row, Session, marks

COLUMNS = (
    "id", "asset_type", "state", "kind", "content_type", "created_at", "updated_at", "created_by",
    "request_digest", "name", "uri", "size_bytes", "sha256", "config_json", "metadata_json",
    "pending_reasons", "ready_at", "abandoned_at", "abandoned_reason", "organization_id",
    "team_id", "visibility", "experiment_id", "variation", "run", "series_id", "version",
    "deprecated_at", "deprecated_by", "deprecated_reason", "invalidated_at", "invalidated_by",
    "invalidated_reason", "invalidated_with",
)  # fmt: skip

# What may change once a row is there.
CHANGING = (
    "state", "updated_at", "size_bytes", "sha256", "metadata_json", "pending_reasons", "ready_at",
    "abandoned_at", "abandoned_reason", "organization_id", "team_id", "visibility",
    "deprecated_at", "deprecated_by", "deprecated_reason", "invalidated_at", "invalidated_by",
    "invalidated_reason", "invalidated_with",
)  # fmt: skip

# Of each asset of a list no more components are shown.
LISTED = 100

_OF_ROW = ", ".join(f"o.{name}" for name in COLUMNS)
_SELECT = f"SELECT {_OF_ROW} FROM assets AS o"  # noqa: S608 - ours
_COMPONENTS = "asset_id, name, content_type, blob_id, size_bytes, sha256"


def row_of(asset: Asset) -> tuple[Any, ...]:
    """The columns of an asset."""
    output = asset.output_of or OutputOf("")
    return (
        asset.id, asset.asset_type, asset.state, asset.kind, asset.content_type,
        micros(asset.created_at), micros(asset.updated_at), asset.created_by,
        asset.request_digest, asset.name, asset.uri, asset.size_bytes, asset.sha256,
        asset.config_json, asset.metadata_json,
        json.dumps(asset.pending_reasons, ensure_ascii=False), _micros(asset.ready_at),
        _micros(asset.abandoned_at), asset.abandoned_reason, asset.organization_id,
        asset.team_id, asset.visibility, output.experiment_id or None, output.variation,
        output.run, asset.series_id, asset.version, *_flag_columns(asset.deprecated)[:3],
        *_flag_columns(asset.invalidated),
    )  # fmt: skip


def audited(asset: Asset) -> dict[str, str]:
    """What the audit says of a new asset."""
    return {"asset_type": asset.asset_type, "state": asset.state, "kind": asset.kind}


def asset_of(row: Row) -> Asset:
    """The asset of a row, without components and aliases."""
    at = dict(zip(COLUMNS, row, strict=True))
    output = None
    if at["experiment_id"] is not None:
        output = OutputOf(at["experiment_id"], at["variation"], at["run"])
    return Asset(
        id=at["id"],
        asset_type=at["asset_type"],
        state=at["state"],
        kind=at["kind"],
        content_type=at["content_type"],
        created_at=moment(at["created_at"]),
        updated_at=moment(at["updated_at"]),
        created_by=at["created_by"],
        request_digest=at["request_digest"],
        name=at["name"],
        uri=at["uri"],
        size_bytes=at["size_bytes"],
        sha256=at["sha256"],
        config_json=at["config_json"],
        metadata_json=at["metadata_json"],
        pending_reasons=tuple(json.loads(at["pending_reasons"])),
        ready_at=_moment(at["ready_at"]),
        abandoned_at=_moment(at["abandoned_at"]),
        abandoned_reason=at["abandoned_reason"],
        organization_id=at["organization_id"],
        team_id=at["team_id"],
        visibility=at["visibility"],
        output_of=output,
        series_id=at["series_id"],
        version=at["version"],
        deprecated=_flag(row[27:30]),
        invalidated=_flag(row[30:34]),
    )


async def load(session: Session, asset_id: str) -> Asset:
    """An asset with all its components and aliases. Raises `NotFoundError`."""
    row = await session.one(f"{_SELECT} WHERE o.id = ?", asset_id)
    if row is None:
        raise NotFoundError("asset", asset_id)
    return await _whole(session, asset_of(row))


async def seen(
    session: Session, asset_id: str, by: Principal, action: Action
) -> tuple[Asset, frozenset[Action]]:
    """An asset with all that belongs to it, and what the caller may do with it.

    Raises as `access.require` does. What is granted comes with the row, in one statement.
    """
    if by.run is not None:
        await access.require(session, "asset", asset_id, by, action)
        may = await access.actions(session, "asset", asset_id, by)
        return await load(session, asset_id), may
    granted, values = access.granted(session, "asset", "o.id", by)
    query = f"SELECT {_OF_ROW}, {granted} FROM assets AS o WHERE o.id = ?"  # noqa: S608 - ours
    row = await session.one(query, *values, asset_id)
    if row is None:
        raise NotFoundError("asset", asset_id)
    may = allowed(row[-1].split(",")) if row[-1] else frozenset[Action]()
    access.judge(may, "asset", asset_id, by, action)
    return await _whole(session, asset_of(row[:-1])), may


async def _whole(session: Session, asset: Asset) -> Asset:
    asset_id = asset.id
    if asset.kind == "components":
        rows = await session.all(
            f"SELECT {_COMPONENTS} FROM asset_components WHERE asset_id = ? ORDER BY position",  # noqa: S608 - ours
            asset_id,
        )
        asset = replace(asset, components=tuple(map(_component, rows)))
    if asset.series_id is not None:
        asset = replace(asset, aliases=(await aliases(session, [asset])).get(asset_id, ()))
    return asset


async def held(session: Session, asset_id: str, by: Principal, action: Action) -> Asset:
    """An asset that the caller may do this with, and nobody else changes from here on.

    Raises `NotFoundError`, `ForbiddenError`.
    """
    await access.hold(session, "asset", asset_id)
    await access.require(session, "asset", asset_id, by, action)
    return await load(session, asset_id)


async def load_many(session: Session, ids: Sequence[str]) -> list[Asset]:
    """Assets in the order of their ids here, without those missing; of each the first 100
    components.
    """
    if not ids:
        return []
    chosen, keys = among(session, "o.id", ids)
    rows = {row[0]: asset_of(row) for row in await session.all(f"{_SELECT} WHERE {chosen}", keys)}
    found = [rows[each] for each in ids if each in rows]
    parted = [each.id for each in found if each.kind == "components"]
    named = [each for each in found if each.series_id is not None]
    components = await _first_components(session, parted) if parted else {}
    pointing = await aliases(session, named) if named else {}
    return [
        replace(
            each,
            components=tuple(components.get(each.id, ())),
            aliases=pointing.get(each.id, ()),
        )
        for each in found
    ]


async def aliases(session: Session, assets: Iterable[Asset]) -> dict[str, tuple[str, ...]]:
    """The aliases that point at named assets, by their ids."""
    pointed_at = list(assets)
    chosen, keys = among(session, "asset_id", [each.id for each in pointed_at])
    # By the index of names: there is none of what aliases point at, and they would all be read.
    of_names, names = among(session, "series_id", {each.series_id or "" for each in pointed_at})
    found: dict[str, tuple[str, ...]] = {}
    for asset_id, alias in await session.all(
        f"SELECT asset_id, alias FROM asset_aliases WHERE {of_names} AND {chosen} ORDER BY alias",  # noqa: S608 - ours
        *(names, keys),
    ):
        found[asset_id] = (*found.get(asset_id, ()), alias)
    return found


async def add(session: Session, asset: Asset) -> bool:
    """Add a row with its components, unless the id is taken; answer whether it was added."""
    values = row_of(asset)
    added = await session.run(
        f"INSERT INTO assets ({', '.join(COLUMNS)}) VALUES ({marks(values)})"  # noqa: S608 - ours
        " ON CONFLICT (id) DO NOTHING",
        *values,
    )
    if added and asset.components:
        await session.many(
            f"INSERT INTO asset_components ({_COMPONENTS}, position)"  # noqa: S608 - ours
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (asset.id, *_component_columns(each), place)
                for place, each in enumerate(asset.components)
            ],
        )
    return added == 1


async def put(session: Session, before: Asset, after: Asset) -> None:
    """Replace a row that is locked, and what has changed of its components."""
    values = dict(zip(COLUMNS, row_of(after), strict=True))
    await session.run(
        f"UPDATE assets SET {', '.join(f'{name} = ?' for name in CHANGING)} WHERE id = ?",  # noqa: S608 - ours
        *(values[name] for name in CHANGING),
        after.id,
    )
    changed = [
        (new.size_bytes, new.sha256, after.id, new.name)
        for old, new in zip(before.components, after.components, strict=True)
        if old != new
    ]
    if changed:
        await session.many(
            "UPDATE asset_components SET size_bytes = ?, sha256 = ?"
            " WHERE asset_id = ? AND name = ?",
            changed,
        )


async def _first_components(session: Session, ids: Sequence[str]) -> dict[str, list[Component]]:
    chosen, keys = among(session, "asset_id", ids)
    found: dict[str, list[Component]] = {}
    for row in await session.all(
        f"SELECT {_COMPONENTS} FROM asset_components WHERE {chosen} AND position < ?"  # noqa: S608 - ours
        " ORDER BY asset_id, position",
        *(keys, LISTED),
    ):
        found.setdefault(row[0], []).append(_component(row))
    return found


def _component(row: Row) -> Component:
    return Component(*row[1:])


def _component_columns(each: Component) -> tuple[Any, ...]:
    return each.name, each.content_type, each.blob_id, each.size_bytes, each.sha256


def _flag_columns(flag: Flag | None) -> tuple[Any, ...]:
    if flag is None:
        return None, None, None, None
    return micros(flag.set_at), flag.set_by, flag.reason, flag.retraction or None


def _flag(columns: Sequence[Any]) -> Flag | None:
    at, by, reason, *retraction = columns
    if at is None:
        return None
    return Flag(reason, by, moment(at), retraction[0] or "" if retraction else "")


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment(at)
