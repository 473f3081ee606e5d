"""Whose a new asset is: its experiment's owner, a team, an organisation, or whoever makes it."""

from __future__ import annotations

from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.asset_errors import AssetOrgMismatchError
from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import Owner
from asgard_server.asset.domain import OutputOf
from asgard_server.asset.wishes import Asked
from asgard_server.auth.principal import Principal
from asgard_server.store.sql import access, run_outputs
from asgard_server.store.sql.scopes import owner_named, require_member
from asgard_server.store.sql.session import Session


async def owner_of(session: Session, asked: Asked, by: Principal) -> Owner:
    """Whose it becomes; the experiment it is an output of is held from here on.

    Raises `NotFoundError`, `NotAMemberError`, `ForbiddenError`, `AssetOrgMismatchError`,
    `RunLeaseLostError`.
    """
    named = await owner_named(session, asked.organization, asked.team)
    if asked.asset.output_of is None:
        if by.run is not None:
            raise ForbiddenError(
                "a worker's key makes outputs of its own run: name it in output_of"
            )
        require_member(named, asked.organization, asked.team, by)
        return named
    owner = await _of_experiment(session, asked.asset.output_of, asked.lease_token, by)
    if asked.organization and named.organization_id != owner.organization_id:
        raise AssetOrgMismatchError(
            asked.asset.output_of.experiment_id, owner.organization_id or ""
        )
    if asked.team and named.team_id != owner.team_id:
        raise AssetOrgMismatchError(
            asked.asset.output_of.experiment_id, owner.organization_id or ""
        )
    return owner


async def _of_experiment(
    session: Session, output: OutputOf, lease_token: str, by: Principal
) -> Owner:
    await access.hold(session, "experiment", output.experiment_id)
    await access.require(session, "experiment", output.experiment_id, by, "write")
    if by.run is not None and (
        by.run.experiment_id != output.experiment_id
        or by.run.variation != output.variation
        or by.run.run != output.run
    ):
        raise ForbiddenError("a worker's key makes outputs of its own run alone")
    await _require_there(session, output)
    await run_outputs.require_lease(
        session, output.experiment_id, output.variation, output.run, lease_token
    )
    row = await session.one(
        "SELECT organization_id, team_id FROM experiments WHERE id = ?", output.experiment_id
    )
    return Owner(*row) if row is not None else Owner()


async def _require_there(session: Session, output: OutputOf) -> None:
    if output.variation is None:
        return
    named = f"{output.experiment_id}/{output.variation}"
    query = "SELECT 1 FROM variations WHERE experiment_id = ? AND number = ?"
    if not await session.value(query, output.experiment_id, output.variation):
        raise NotFoundError("variation", named)
