"""Where a run is logged to in W&B, as a ready asset that is an output of it."""

from __future__ import annotations

import hashlib
from datetime import datetime

import orjson
from gimle.asgard.core.ids import new_id

from asgard_server.access.domain import OWN
from asgard_server.asset.domain import Asset, OutputOf
from asgard_server.auth.principal import Principal
from asgard_server.experiment.leases import Run
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import access, asset_rows, asset_texts, audit, links, run_outputs
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.experiment_rows import wandb_fields
from asgard_server.store.sql.session import Session

TYPE = "wandb_run"


async def add_wandb_asset(
    session: Session, run: Run, by: Principal, now: datetime
) -> tuple[str, Change]:
    """Add it in the transaction that starts the run; answer its id, and what is to be logged."""
    assert run.wandb is not None  # noqa: S101 - nobody asks for it otherwise
    body = orjson.dumps(wandb_fields(run.wandb))
    asset_id, at, digest = new_id(now), micros(now), hashlib.sha256(body).hexdigest()
    owner = await session.one(
        "SELECT organization_id, team_id FROM experiments WHERE id = ?", run.experiment_id
    )
    organization_id, team_id = owner or (None, None)
    asset = Asset(
        id=asset_id,
        asset_type=TYPE,
        state="ready",
        kind="inline",
        content_type="application/json",
        created_at=now,
        updated_at=now,
        created_by=by.sub,
        request_digest=digest,
        size_bytes=len(body),
        sha256=digest,
        ready_at=now,
        organization_id=organization_id,
        team_id=team_id,
        output_of=OutputOf(run.experiment_id, run.variation, run.number),
    )
    await asset_rows.add(session, asset)
    await session.run("INSERT INTO asset_contents (asset_id, body) VALUES (?, ?)", asset_id, body)
    name = f"{run.wandb.entity}/{run.wandb.project}/{run.wandb.run_id}"
    await asset_texts.put_text(session, asset, f"{name} {run.wandb.dashboard_url}")
    await access.grant(session, "asset", asset_id, by.sub, "administer", OWN, by.sub, at)
    await audit.note(
        *(session, by, "asset.create", "asset", asset_id, organization_id),
        {"asset_type": TYPE, "state": "ready", "kind": "inline"},
        at=at,
    )
    made = await links.link(
        session,
        links.Link(
            asset_id,
            "output",
            run.experiment_id,
            run.variation,
            run.number,
            linked_by=by.sub,
            linked_at=at,
        ),
        by,
    )
    await run_outputs.retract_with(session, asset_id, run.experiment_id, run.variation, by, at)
    return asset_id, made.change
