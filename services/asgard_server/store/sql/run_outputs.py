"""What becomes of an asset because of the run or the experiment that it is an output of."""

from __future__ import annotations

from asgard_server.auth.principal import Principal
from asgard_server.experiment import leases
from asgard_server.store.sql import retracting
from asgard_server.store.sql.session import Session
from asgard_server.store.sql.variation_runs import run_at


async def require_lease(
    session: Session, experiment_id: str, variation: int | None, run: int | None, token: str
) -> None:
    """Raise `RunLeaseLostError` for what comes too late, `NotFoundError` for a run that is not.

    Without a token the lease that holds is meant, whoever has it; of a run that was lost nothing is
    taken. Who calls holds the experiment or the asset: a loss comes before, or finds it there.
    """
    if variation is None or run is None:
        return
    leases.require_lease(await run_at(session, experiment_id, variation, run), token)


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
