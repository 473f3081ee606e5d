"""Inputs and outputs of experiments in SQL, as callers see them, and the steps that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gimle.asgard.core.errors import NotFoundError

from asgard_server.auth.principal import Principal
from asgard_server.experiment.domain import Report
from asgard_server.experiment.leases import Run
from asgard_server.experiment.link_store import Direction, LinkedAsset, Step, Warned, Which, Wish
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import access, links, retracting
from asgard_server.store.sql.among import among
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.experiment_rows import LINKED, flag_of, linked_of
from asgard_server.store.sql.session import Session
from asgard_server.store.sql.wandb_assets import add_wandb_asset


class SqlLinks:
    """The port `Links` within a transaction."""

    def __init__(self, session: Session, changed: Callable[[Change], None]) -> None:
        self._session = session
        self._changed = changed

    async def types(self, ids: Sequence[str], by: Principal) -> Mapping[str, str]:
        """The types of assets. Raises `NotFoundError` for one that the caller may not read."""
        chosen, values = among(self._session, "a.id", ids)
        readable, keys = access.readable(self._session, "asset", "a.id", by)
        rows = await self._session.all(
            f"SELECT a.id, a.asset_type FROM assets AS a WHERE {chosen} AND {readable}",  # noqa: S608 - ours
            *(values, *keys),
        )
        found: dict[str, str] = dict(rows)
        for each in ids:
            if each not in found:
                raise NotFoundError("asset", each)
        return found

    async def link(self, wish: Wish, by: Principal, now: datetime) -> list[Warned]:
        """Link inputs; what is linked stays."""
        for asset_id in sorted(wish.asset_ids):
            made = await links.link(
                self._session,
                links.Link(
                    asset_id,
                    "input",
                    wish.experiment_id,
                    wish.variation,
                    allow_invalid=wish.allow_invalid,
                    propagate_acl=wish.propagate_acl,
                    linked_by=by.sub,
                    linked_at=micros(now),
                ),
                by,
            )
            self._changed(made.change)
        return await self._warned(wish.asset_ids)

    async def unlink(
        self, id: str, variation: int | None, asset_id: str, by: Principal, now: datetime
    ) -> bool:
        """Remove an input; answer whether it was there."""
        gone = await links.unlink(self._session, asset_id, "input", id, variation, micros(now))
        if gone is None:
            return False
        self._changed(gone)
        return True

    async def assets(self, id: str, which: Which, by: Principal, limit: int) -> list[LinkedAsset]:
        """What is linked and the caller may read."""
        where, values = _condition(self._session, id, which)
        readable, keys = access.readable(self._session, "asset", "a.id", by, few=True)
        order = "a.ready_at DESC, a.id DESC" if which.newest_ready else "a.id, l.variation"
        rows = await self._session.all(
            f"SELECT {LINKED} FROM asset_links AS l JOIN assets AS a ON a.id = l.asset_id"  # noqa: S608 - ours
            f" WHERE {' AND '.join(where)} AND {readable} ORDER BY {order} LIMIT ?",
            *(*values, *keys, limit),
        )
        return [linked_of(row) for row in rows]

    async def count(self, id: str, variation: int | None, by: Principal) -> int:
        """How many outputs that the caller may read would be invalidated by retracting it."""
        where, values = _condition(self._session, id, Which("output", variation=variation))
        readable, keys = access.readable(self._session, "asset", "a.id", by, few=True)
        found = await self._session.value(
            "SELECT count(DISTINCT a.id) FROM asset_links AS l JOIN assets AS a"  # noqa: S608 - ours
            f" ON a.id = l.asset_id WHERE {' AND '.join(where)} AND {readable}"
            " AND a.invalidated_at IS NULL",
            *(*values, *keys),
        )
        return int(found)

    async def reports(self, id: str, direction: Direction, asset_type: str) -> list[Report]:
        """What is linked of a type, the oldest first; whoever may read it."""
        rows = await self._session.all(
            "SELECT DISTINCT a.id, a.asset_type, a.state, a.pending_reasons, a.invalidated_at,"
            " coalesce(a.ready_at, a.created_at) AS at FROM asset_links AS l"
            " JOIN assets AS a ON a.id = l.asset_id WHERE l.experiment_id = ? AND l.direction = ?"
            " AND a.asset_type = ? AND (l.direction = 'output' OR l.variation = -1)"
            " ORDER BY at, a.id",
            *(id, direction, asset_type),
        )
        return [
            Report(
                asset_id,
                kind,
                ready=state == "ready",
                awaits=state == "pending" and reasons != "[]",
                invalidated=invalidated is not None,
            )
            for asset_id, kind, state, reasons, invalidated, _ in rows
        ]

    async def outputs(self, id: str, variation: int) -> frozenset[str]:
        """The ids of what a variation has put out, whoever may read it."""
        rows = await self._session.all(
            "SELECT asset_id FROM asset_links WHERE experiment_id = ? AND variation = ?"
            " AND direction = 'output'",
            *(id, variation),
        )
        return frozenset(row[0] for row in rows)

    async def retract(
        self, id: str, variation: int | None, reason: str, by: Principal, now: datetime
    ) -> int:
        """Invalidate all outputs; answer how many that were."""
        done = await retracting.retract(self._session, id, variation, reason, by, micros(now))
        for each in done.changes:
            self._changed(each)
        return done.outputs

    async def upstream(self, ids: Sequence[str], by: Principal, limit: int) -> list[Step]:
        """Steps that lead to these experiments; by assets that the caller may read."""
        return [
            *await self._by_word("experiment_id", ids, limit),
            *await self._by_assets(*among(self._session, "i.experiment_id", ids), by, limit),
        ]

    async def downstream(self, ids: Sequence[str], by: Principal, limit: int) -> list[Step]:
        """Steps that lead from these experiments; by assets that the caller may read."""
        return [
            *await self._by_word("parent_id", ids, limit),
            *await self._by_assets(*among(self._session, "o.experiment_id", ids), by, limit),
        ]

    async def add_wandb(self, run: Run, by: Principal, now: datetime) -> str:
        """Write where a run is logged to as an output of it; answer the asset's id."""
        asset_id, change = await add_wandb_asset(self._session, run, by, now)
        self._changed(change)
        return asset_id

    async def require(self, asset_id: str, by: Principal) -> None:
        """Raise `NotFoundError` for an asset that the caller may not read."""
        await access.require(self._session, "asset", asset_id, by, "read")

    async def _by_word(self, end: str, ids: Sequence[str], limit: int) -> list[Step]:
        """What was said to be built upon what, with one of these at this end."""
        chosen, values = among(self._session, end, ids)
        rows = await self._session.all(
            "SELECT parent_id, experiment_id, tentative FROM experiment_parents"  # noqa: S608 - ours
            f" WHERE {chosen} ORDER BY parent_id, experiment_id LIMIT ?",
            *(values, limit),
        )
        return [Step(parent, child, tentative=bool(tentative)) for parent, child, tentative in rows]

    async def _by_assets(
        self, chosen: str, values: object, by: Principal, limit: int
    ) -> list[Step]:
        """Inputs with what they are outputs of; of nothing, where nothing is known of that."""
        readable, keys = access.readable(self._session, "asset", "a.id", by)
        rows = await self._session.all(
            "SELECT DISTINCT coalesce(o.experiment_id, ''), i.experiment_id, a.id, a.asset_type,"  # noqa: S608 - ours
            " coalesce(a.name, a.asset_type), i.variation, a.deprecated_at, a.deprecated_by,"
            " a.deprecated_reason, a.invalidated_at, a.invalidated_by, a.invalidated_reason,"
            " a.invalidated_with FROM asset_links AS i JOIN assets AS a ON a.id = i.asset_id"
            " LEFT JOIN asset_links AS o ON o.asset_id = a.id AND o.direction = 'output'"
            f" WHERE i.direction = 'input' AND {chosen} AND {readable}"
            " ORDER BY a.id, i.experiment_id, i.variation LIMIT ?",
            *(values, *keys, limit),
        )
        return [
            Step(
                *(parent, child, asset_id, kind, label),
                variation=None if variation < 0 else variation,
                deprecated=flag_of(*flags[:3]),
                invalidated=flag_of(*flags[3:]),
            )
            for parent, child, asset_id, kind, label, variation, *flags in rows
        ]

    async def _warned(self, ids: Sequence[str]) -> list[Warned]:
        chosen, values = among(self._session, "id", ids)
        rows = await self._session.all(
            "SELECT id, deprecated_at, deprecated_reason, invalidated_at, invalidated_reason"  # noqa: S608 - ours
            f" FROM assets WHERE {chosen} ORDER BY id",
            values,
        )
        warned = []
        for id, deprecated, why_deprecated, invalidated, why_invalidated in rows:
            if deprecated is not None:
                warned.append(Warned(id, "deprecated", why_deprecated or ""))
            if invalidated is not None:
                warned.append(Warned(id, "invalidated", why_invalidated or ""))
        return warned


def _condition(session: Session, id: str, which: Which) -> tuple[list[str], list[Any]]:
    where = ["l.experiment_id = ?", "l.direction = ?"]
    values: list[Any] = [id, which.direction]
    if which.itself:
        where.append("l.variation = -1")
    for column, value in (
        ("l.variation = ?", which.variation),
        ("l.run = ?", which.run),
        ("a.asset_type = ?", which.asset_type or None),
        ("a.id > ?", which.after or None),
    ):
        if value is not None:
            where.append(column)
            values.append(value)
    if which.only:
        chosen, named = among(session, "a.id", which.only)
        where.append(chosen)
        values.append(named)
    if which.newest_ready:
        where.append("a.state = 'ready'")
    return where, values
