"""Runs of variations in SQL, and what becomes of the assets of one that has failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from gimle.asgard.core.errors import NotFoundError

from asgard_server.auth.principal import Principal
from asgard_server.experiment.leases import Run
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import asset_log, audit
from asgard_server.store.sql.among import among
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.experiment_rows import RUN, run_of, run_values
from asgard_server.store.sql.session import Session, marks


class SqlRuns:
    """The port `Runs` within a transaction."""

    def __init__(self, session: Session, changed: Callable[[Change], None]) -> None:
        self._session = session
        self._changed = changed

    async def find(self, id: str, variation: int, number: int, *, lock: bool = False) -> Run:
        """Look up. Raises `NotFoundError`."""
        return await run_at(self._session, id, variation, number, lock=lock)

    async def of_variation(self, id: str, variation: int, limit: int) -> list[Run]:
        """The newest, by their numbers."""
        rows = await self._session.all(
            f"SELECT {RUN} FROM variation_runs WHERE experiment_id = ? AND variation = ?"  # noqa: S608 - ours
            " ORDER BY number DESC LIMIT ?",
            *(id, variation, limit),
        )
        return [run_of(row) for row in reversed(rows)]

    async def latest(self, id: str) -> Mapping[int, Run]:
        """The newest run of each variation."""
        columns = ", ".join(f"r.{name.strip()}" for name in RUN.split(","))
        rows = await self._session.all(
            f"SELECT {columns} FROM variation_runs AS r JOIN variations AS v"  # noqa: S608 - ours
            " ON v.experiment_id = r.experiment_id AND v.number = r.variation"
            " WHERE r.experiment_id = ? AND r.number = v.runs - 1",
            id,
        )
        return {run.variation: run for run in map(run_of, rows)}

    async def add(self, run: Run) -> None:
        """Add a run."""
        values = run_values(run)
        await self._session.run(
            f"INSERT INTO variation_runs ({RUN}) VALUES ({marks(values)})",  # noqa: S608 - ours
            *values,
        )

    async def put(self, run: Run) -> None:
        """Replace a run."""
        values = run_values(run)
        await self._session.run(
            f"UPDATE variation_runs SET ({RUN}) = ({marks(values)})"  # noqa: S608 - ours
            " WHERE experiment_id = ? AND variation = ? AND number = ?",
            *(*values, run.experiment_id, run.variation, run.number),
        )

    async def overdue(self, now: datetime, limit: int) -> list[tuple[str, int, int]]:
        """Runs whose lease has ended, the longest overdue first."""
        rows = await self._session.all(
            "SELECT experiment_id, variation, number FROM variation_runs"
            " WHERE status = 'running' AND lease_until <= ? ORDER BY lease_until LIMIT ?",
            *(micros(now), limit),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def next_lease(self) -> datetime | None:
        """When the next lease ends; None while nothing runs."""
        at = await self._session.value(
            "SELECT min(lease_until) FROM variation_runs WHERE status = 'running'"
        )
        return None if at is None else moment(at)

    async def abandon_assets(self, run: Run, reason: str, by: Principal, now: datetime) -> int:
        """Give up what nobody has finalized; what is whole and awaits review stays."""
        rows = await self._session.all(
            "SELECT id FROM assets WHERE experiment_id = ? AND variation = ?"  # noqa: S608 - ours
            " AND run = ? AND state = 'pending'"
            " AND NOT (pending_reasons <> '[]' AND size_bytes IS NOT NULL)"
            f" ORDER BY id{self._session.for_update}",
            *(run.experiment_id, run.variation, run.number),
        )
        if not rows:
            return 0
        ids, at = [row[0] for row in rows], micros(now)
        chosen, value = among(self._session, "id", ids)
        await self._session.run(
            "UPDATE assets SET state = 'abandoned', abandoned_at = ?, abandoned_reason = ?,"  # noqa: S608 - ours
            f" updated_at = ? WHERE {chosen}",
            *(at, reason, at, value),
        )
        details = {"reason": reason}
        await audit.note_assets(self._session, by, "asset.abandon", ids, details, at)
        for each in await asset_log.unchanged(self._session, ids):
            self._changed(each)
        return len(ids)


async def run_at(
    session: Session, id: str, variation: int, number: int, *, lock: bool = False
) -> Run:
    """A run of a variation. Raises `NotFoundError`."""
    row = await session.one(
        f"SELECT {RUN} FROM variation_runs WHERE experiment_id = ? AND variation = ?"  # noqa: S608 - ours
        f" AND number = ?{session.for_update if lock else ''}",
        *(id, variation, number),
    )
    if row is None:
        raise NotFoundError("run", f"{id}/{variation}/{number}")
    return run_of(row)
