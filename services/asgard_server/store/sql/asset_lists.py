"""Pages of assets: what a caller may read, and what awaits his review."""

from __future__ import annotations

from asgard_server.asset.domain import Asset
from asgard_server.asset.store import Filter, Position
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import access, asset_rows
from asgard_server.store.sql.among import among
from asgard_server.store.sql.scopes import OWNED, scope_of
from asgard_server.store.sql.session import Session

# Of so many of one name those that the caller may read are found as quickly among all of his.
_RARE = 5_000


async def page(
    session: Session, by: Principal, wanted: Filter, behind: Position | None, limit: int
) -> list[Asset]:
    """What the caller may read of what is wanted, newest first."""
    conditions: list[str] = []
    values: list[object] = []
    for condition, value in (
        ("o.asset_type = ?", wanted.asset_type or None),
        ("o.state = ?", wanted.state),
        ("o.name = ?", wanted.name or None),
        *_output(wanted),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if wanted.owner:
        scope = await scope_of(session, wanted.owner)
        if scope is None:
            return []
        conditions.append(OWNED[scope.kind])
        values.append(scope.id)
    place = None if behind is None else (micros(behind[0]), behind[1])
    narrow = wanted.output_of is not None or await _is_rare(session, wanted.name)
    found = await access.page(
        session, "asset", by, place, limit, " AND ".join(conditions), values, narrow=narrow
    )
    return await asset_rows.load_many(session, [asset_id for _, asset_id in found])


async def awaiting_review(
    session: Session, by: Principal, behind: Position | None, limit: int
) -> list[Asset]:
    """What is whole, awaits review and may be approved by the caller, oldest first."""
    conditions = [
        "o.state = 'pending'",
        "o.pending_reasons <> '[]'",
        "(o.kind = 'reference' OR o.size_bytes IS NOT NULL)",
    ]
    values: list[object] = []
    if behind is not None:
        conditions.append("(o.created_at, o.id) > (?, ?)")
        values += (micros(behind[0]), behind[1])
    if not by.sees_everything:
        chosen, keys = among(session, "g.principal", by.keys)
        conditions.append(
            "EXISTS (SELECT 1 FROM grants AS g WHERE g.object_kind = 'asset'"  # noqa: S608 - ours
            f" AND g.object_id = o.id AND g.action IN ('write', 'administer') AND {chosen})"
        )
        values.append(keys)
    rows = await session.all(
        f"SELECT o.id FROM assets AS o WHERE {' AND '.join(conditions)}"  # noqa: S608 - ours
        " ORDER BY o.created_at, o.id LIMIT ?",
        *(*values, limit),
    )
    return await asset_rows.load_many(session, [row[0] for row in rows])


async def _is_rare(session: Session, name: str) -> bool:
    """Whether so few assets have a name that to look at each is cheap, whoever may read them."""
    if not name:
        return False
    query = "SELECT count(*) FROM (SELECT 1 FROM assets WHERE name = ? LIMIT ?) AS of_name"
    return int(await session.value(query, name, _RARE)) < _RARE


def _output(wanted: Filter) -> list[tuple[str, object]]:
    output = wanted.output_of
    if output is None:
        return []
    return [
        ("o.experiment_id = ?", output.experiment_id),
        ("o.variation = ?", output.variation),
        ("o.run = ?", output.run),
    ]
