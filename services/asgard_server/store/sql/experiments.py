"""Experiments, variations and findings in SQL, and what is written down of each change of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from gimle.asgard.core.errors import DeletedError, NotFoundError

from asgard_server.auth.principal import Principal
from asgard_server.experiment.domain import Experiment, Finding, Parent, Variation
from asgard_server.experiment.store import Filter, Rows, Told
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import access, asset_log, audit, links, outbox
from asgard_server.store.sql.among import among
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.experiment_access import SqlAccess
from asgard_server.store.sql.experiment_links import SqlLinks
from asgard_server.store.sql.experiment_rows import (
    EXPERIMENT,
    FINDING,
    VARIATION,
    experiment_of,
    experiment_values,
    finding_of,
    variation_of,
    variation_values,
)
from asgard_server.store.sql.scopes import OWNED, scope_of
from asgard_server.store.sql.session import Database, Session, marks
from asgard_server.store.sql.variation_runs import SqlRuns

T = TypeVar("T")


class SqlShelf:
    """The port `Shelf` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work as one transaction; what it has told is logged at its end."""

        async def change(session: Session) -> T:
            rows = SqlRows(session)
            answer = await work(rows)
            await rows.log()
            return answer

        return await self._database.write(change)

    async def look(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work that sees one moment."""
        return await self._database.read(lambda session: work(SqlRows(session)))


class SqlRows:
    """The port `Rows` within a transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changes: dict[tuple[str, str], Change] = {}
        self.experiments = SqlExperiments(session, self.changed)
        self.runs = SqlRuns(session, self.changed)
        self.links = SqlLinks(session, self.changed)
        self.access = SqlAccess(session, self.changed)

    def changed(self, change: Change) -> None:
        """Keep a change for the log: one of an object, from its first before to its last after."""
        key = (change.kind, change.id)
        if (earlier := self._changes.get(key)) is not None:
            change = change._replace(before=earlier.before)
        self._changes[key] = change

    async def record(self, told: Told) -> None:
        """Add a row to the audit, and let watchers know that the experiment has changed."""
        found = told.experiment
        await audit.note(
            *(self._session, told.by, told.action, "experiment", found.id, found.organization_id),
            told.details,
            at=micros(told.at),
        )
        if ("experiment", found.id) not in self._changes:
            readers = await access.readers(self._session, "experiment", found.id)
            self.changed(Change("experiment", found.id, readers, readers))

    async def leave(self, kind: str, key: str, body: Mapping[str, Any], now: datetime) -> None:
        """Leave word of what is to be done in another service."""
        await outbox.leave(self._session, kind, key, body, micros(now))

    async def log(self) -> None:
        """Write the log: the last statement of the transaction."""
        await asset_log.log_all(self._session, list(self._changes.values()))


class SqlExperiments:
    """The port `Experiments` within a transaction."""

    def __init__(self, session: Session, changed: Callable[[Change], None]) -> None:
        self._session = session
        self._changed = changed

    async def find(self, id: str, *, lock: bool = False) -> Experiment:
        """Look up. Raises `NotFoundError`."""
        locked = self._session.for_update if lock else ""
        query = f"SELECT {EXPERIMENT} FROM experiments WHERE id = ?{locked}"  # noqa: S608 - ours
        row = await self._session.one(query, id)
        if row is None:
            raise NotFoundError("experiment", id)
        return experiment_of(row)

    async def repeated(self, id: str) -> Experiment | None:
        """Look up for a create. Raises `DeletedError`."""
        query = "SELECT deleted_at FROM deleted_ids WHERE object_kind = 'experiment' AND id = ?"
        if (at := await self._session.value(query, id)) is not None:
            raise DeletedError(id, moment(at))
        try:
            return await self.find(id)
        except NotFoundError:
            return None

    async def add(self, experiment: Experiment) -> bool:
        """Add a row, unless the id is taken."""
        values = experiment_values(experiment)
        added = await self._session.run(
            f"INSERT INTO experiments ({EXPERIMENT}) VALUES ({marks(values)})"  # noqa: S608 - ours
            " ON CONFLICT (id) DO NOTHING",
            *values,
        )
        return added == 1

    async def put(self, experiment: Experiment) -> None:
        """Replace a row."""
        values = experiment_values(experiment)
        await self._session.run(
            f"UPDATE experiments SET ({EXPERIMENT}) = ({marks(values)}) WHERE id = ?",  # noqa: S608 - ours
            *(*values, experiment.id),
        )

    async def remove(self, id: str, now: datetime) -> int:
        """Remove a row and all that belongs to it; the assets lose what they had of it."""
        linked = await self._session.all(
            "SELECT DISTINCT asset_id, direction, variation FROM asset_links"
            " WHERE experiment_id = ? ORDER BY asset_id, direction, variation",
            id,
        )
        for asset_id, direction, variation in linked:
            number = None if variation < 0 else variation
            gone = await links.unlink(self._session, asset_id, direction, id, number, micros(now))
            if gone is not None:
                self._changed(gone)
        for table, column in (
            ("findings", "experiment_id"),
            ("variation_runs", "experiment_id"),
            ("variations", "experiment_id"),
            ("experiment_parents", "experiment_id"),
        ):
            await self._session.run(f"DELETE FROM {table} WHERE {column} = ?", id)  # noqa: S608 - ours
        _, readers = await access.forget(self._session, "experiment", id)
        await self._session.run(
            "UPDATE assets SET experiment_id = NULL, variation = NULL, run = NULL"
            " WHERE experiment_id = ?",
            id,
        )
        await self._session.run("DELETE FROM experiments WHERE id = ?", id)
        await self._session.run(
            "INSERT INTO deleted_ids (object_kind, id, deleted_at) VALUES ('experiment', ?, ?)"
            " ON CONFLICT (object_kind, id) DO NOTHING",
            *(id, micros(now)),
        )
        self._changed(Change("experiment", id, readers, ()))
        return len(linked)

    async def page(
        self, by: Principal, wanted: Filter, behind: tuple[datetime, str] | None, limit: int
    ) -> list[Experiment]:
        """What the caller may read, newest first."""
        where, values = _condition(wanted)
        if wanted.owner:
            scope = await scope_of(self._session, wanted.owner)
            if scope is None:
                return []
            where.append(OWNED[scope.kind])
            values.append(scope.id)
        place = None if behind is None else (micros(behind[0]), behind[1])
        found = await access.page(
            self._session, "experiment", by, place, limit, " AND ".join(where), values
        )
        known = await self._rows([id for _, id in found])
        return [known[id] for _, id in found]

    async def parents(self, id: str) -> list[Parent]:
        """What it is built upon."""
        return (await self.parents_of([id]))[id]

    async def parents_of(self, ids: Sequence[str]) -> Mapping[str, list[Parent]]:
        """What each of these is built upon."""
        chosen, values = among(self._session, "experiment_id", ids)
        rows = await self._session.all(
            "SELECT experiment_id, parent_id, tentative FROM experiment_parents"  # noqa: S608 - ours
            f" WHERE {chosen} ORDER BY experiment_id, parent_id",
            values,
        )
        found: dict[str, list[Parent]] = {id: [] for id in ids}
        for id, parent, tentative in rows:
            found[id].append(Parent(parent, bool(tentative)))
        return found

    async def put_parents(self, id: str, parents: Sequence[Parent]) -> None:
        """Replace what it is built upon."""
        await self._session.run("DELETE FROM experiment_parents WHERE experiment_id = ?", id)
        await self._session.many(
            "INSERT INTO experiment_parents (experiment_id, parent_id, tentative) VALUES (?, ?, ?)",
            [(id, each.id, int(each.tentative)) for each in parents],
        )

    async def children(self, id: str) -> int:
        """How many are built upon it."""
        query = "SELECT count(*) FROM experiment_parents WHERE parent_id = ?"
        return int(await self._session.value(query, id))

    async def readable(self, ids: Sequence[str], by: Principal) -> Mapping[str, Experiment]:
        """Those of these that the caller may read."""
        if not ids:
            return {}
        chosen, values = among(self._session, "id", ids)
        may, keys = access.readable(self._session, "experiment", "experiments.id", by)
        rows = await self._session.all(
            f"SELECT {EXPERIMENT} FROM experiments WHERE {chosen} AND {may}",  # noqa: S608 - ours
            *(values, *keys),
        )
        return {row[0]: experiment_of(row) for row in rows}

    async def variation(self, id: str, number: int) -> Variation:
        """Look up a variation. Raises `NotFoundError`."""
        row = await self._session.one(
            f"SELECT {VARIATION} FROM variations WHERE experiment_id = ? AND number = ?",  # noqa: S608 - ours
            *(id, number),
        )
        if row is None:
            raise NotFoundError("variation", f"{id}/{number}")
        return variation_of(row)

    async def variations(self, id: str) -> list[Variation]:
        """Its variations by their numbers."""
        rows = await self._session.all(
            f"SELECT {VARIATION} FROM variations WHERE experiment_id = ? ORDER BY number",  # noqa: S608 - ours
            id,
        )
        return [variation_of(row) for row in rows]

    async def add_variation(self, variation: Variation) -> None:
        """Add a variation, which is the next one."""
        values = variation_values(variation)
        await self._session.run(
            f"INSERT INTO variations ({VARIATION}) VALUES ({marks(values)})",  # noqa: S608 - ours
            *values,
        )
        await self._session.run(
            "UPDATE experiments SET variations = variations + 1 WHERE id = ?",
            variation.experiment_id,
        )

    async def put_variation(self, variation: Variation) -> None:
        """Replace a variation."""
        values = variation_values(variation)
        await self._session.run(
            f"UPDATE variations SET ({VARIATION}) = ({marks(values)})"  # noqa: S608 - ours
            " WHERE experiment_id = ? AND number = ?",
            *(*values, variation.experiment_id, variation.number),
        )

    async def add_finding(self, finding: Finding) -> None:
        """Add a finding."""
        values = (
            *(finding.id, finding.experiment_id, finding.status, finding.summary),
            *(finding.variation, finding.source_asset_id, finding.created_by),
            micros(finding.created_at),
        )
        await self._session.run(
            f"INSERT INTO findings ({FINDING}) VALUES ({marks(values)})",  # noqa: S608 - ours
            *values,
        )

    async def findings(self, id: str) -> list[Finding]:
        """Its findings, the oldest first."""
        rows = await self._session.all(
            f"SELECT {FINDING} FROM findings WHERE experiment_id = ? ORDER BY created_at, id",  # noqa: S608 - ours
            id,
        )
        return [finding_of(row) for row in rows]

    async def _rows(self, ids: Sequence[str]) -> dict[str, Experiment]:
        chosen, values = among(self._session, "id", ids)
        rows = await self._session.all(
            f"SELECT {EXPERIMENT} FROM experiments WHERE {chosen}",  # noqa: S608 - ours
            values,
        )
        return {row[0]: experiment_of(row) for row in rows}


def _condition(wanted: Filter) -> tuple[list[str], list[object]]:
    where, values = [], list[object]()
    if wanted.state:
        where.append("o.state = ?")
        values.append(wanted.state)
    if wanted.retracted:
        where.append("o.retracted_at IS NOT NULL")
    return where, values
