"""What becomes of an asset because of the run or the experiment that it is an output of."""

from __future__ import annotations

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.experiment_errors import RunLeaseLostError

from asgard_server.auth.principal import Principal
from asgard_server.store.sql import retracting
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
    session: Session,
    asset_id: str,
    experiment_id: str,
    variation: int | None,
    by: Principal,
    at: int,
) -> bool:
    """Invalidate a new output of what was taken back; answer whether it was.

    Others stay as they are: one that was reinstated since is valid.
    """
    query = "SELECT retraction_reason FROM experiments WHERE id = ? AND retracted_at IS NOT NULL"
    brought, row = retracting.retraction(experiment_id), await session.one(query, experiment_id)
    if row is None and variation is not None:
        query = (
            "SELECT retraction_reason FROM variations WHERE experiment_id = ? AND number = ?"
            " AND retracted_at IS NOT NULL"
        )
        brought = retracting.retraction(experiment_id, variation)
        row = await session.one(query, experiment_id, variation)
    if row is None:
        return False
    await retracting.invalidate(session, [asset_id], row[0] or "", brought, by, at)
    return True
