"""What RunService is told of runs of variations: each is a run there, with its own document.

Every message is the whole of what is known of a run, so that it may be delivered twice, and a
later one stands for all before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gimle.asgard.core.documents import format_time
from gimle.asgard.core.ids import new_id

from asgard_server.experiment.access_store import Circle
from asgard_server.experiment.domain import Experiment, Variation
from asgard_server.experiment.leases import Run
from asgard_server.experiment.store import Rows

KIND = "run.document"


async def add_run(
    rows: Rows, experiment: Experiment, variation: Variation, number: int, now: datetime
) -> Run:
    """Add a pending run, and leave word that its document is to be made."""
    made = Run(
        experiment_id=experiment.id,
        variation=variation.number,
        number=number,
        run_id=new_id(now),
        status="pending",
        created_at=now,
    )
    await rows.runs.add(made)
    await tell(rows, experiment, variation, made, now)
    return made


async def tell(
    rows: Rows, experiment: Experiment, variation: Variation, run: Run, now: datetime
) -> None:
    """Leave word of how a run is now."""
    circle = await rows.access.circle(experiment.id)
    await rows.leave(KIND, f"run/{run.run_id}", body(experiment, variation, run, circle), now)


async def owned(rows: Rows, experiment: Experiment, now: datetime) -> None:
    """Leave word of whose the runs of an experiment are from now on, and who may read them."""
    circle = await rows.access.circle(experiment.id)
    for variation in await rows.experiments.variations(experiment.id):
        for run in await rows.runs.of_variation(experiment.id, variation.number, variation.runs):
            told = body(experiment, variation, run, circle)
            await rows.leave(KIND, f"run/{run.run_id}", told, now)


def body(
    experiment: Experiment, variation: Variation, run: Run, circle: Circle
) -> Mapping[str, Any]:
    """What is said of a run: the document that it is to have."""
    return {
        "run_id": run.run_id,
        "name": f"{experiment.title[:300]}: {variation.name[:150]}, run {run.number}",
        "status": run.status,
        "created_at": format_time(run.created_at),
        "finished_at": None if run.finished_at is None else format_time(run.finished_at),
        "owner": experiment.created_by,
        "organization_id": experiment.organization_id or "",
        "visibility": experiment.visibility,
        "readers": circle.readers,
        "writers": circle.writers,
        "metadata": {
            "experiment_id": experiment.id,
            "variation": run.variation,
            "run": run.number,
            "variation_name": variation.name,
            **({"git_ref": variation.git_ref} if variation.git_ref else {}),
        },
    }
