"""What becomes of an asset because of the run or the experiment that it is an output of."""

from __future__ import annotations

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.experiment_errors import RunLeaseLostError

from asgard_server.auth.principal import Principal
from asgard_server.store.sql import retracting
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.session import Session


async def require_lease(
    session: Session, experiment_id: str, variation: int | None, run: int | None, token: str
) -> None:
    """Raise `RunLeaseLostError` for what comes too late, `NotFoundError` for a run that is not.

    Without a token the lease that holds is meant, whoever has it; of a run that was lost nothing is
    taken. Who calls holds the experiment, so that it cannot be lost meanwhile.
    """
    if variation is None or run is None:
        return
    row = await session.one(
        "SELECT run_id, status, lease_token FROM variation_runs"
        " WHERE experiment_id = ? AND variation = ? AND number = ?",
        *(experiment_id, variation, run),
    )
    if row is None:
        raise NotFoundError("run", f"{experiment_id}/{variation}/{run}")
    run_id, status, held = row
    if status == "failed_lost" or (token and token != held):
        raise RunLeaseLostError(run_id)


async def retract_with(
    session: Session, experiment_id: str, variation: int | None, by: Principal, at: int
) -> list[Change]:
    """Invalidate a new output of what was taken back; answer what is to be logged of that."""
    row = await session.one(
        "SELECT retraction_reason FROM experiments WHERE id = ? AND retracted_at IS NOT NULL",
        experiment_id,
    )
    if row is not None:
        done = await retracting.retract(session, experiment_id, None, row[0] or "", by, at)
        return done.changes
    if variation is None:
        return []
    row = await session.one(
        "SELECT retraction_reason FROM variations WHERE experiment_id = ? AND number = ?"
        " AND retracted_at IS NOT NULL",
        *(experiment_id, variation),
    )
    if row is None:
        return []
    done = await retracting.retract(session, experiment_id, variation, row[0] or "", by, at)
    return done.changes
