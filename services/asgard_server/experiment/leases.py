"""The rules of a run of a variation: who computes it, for how long it is believed, how it ends.

Pure, like domain.py. A start gives its worker a lease with a token of its own, and raises the
fence: what comes with an older token is late, and is refused. A lease that ends without a heartbeat
ends the run: there is no taking over, but another run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.experiment_errors import (
    RunLeaseLostError,
    VariationRunStateError,
    WandbPartialTripleError,
)

Status = Literal[
    "pending", "running", "succeeded", "failed_crash", "failed_abandoned", "failed_lost"
]

LEASE_SECONDS = 300
SHORTEST_LEASE, LONGEST_LEASE = 1, 24 * 3_600
LOST = "its worker was silent for longer than its lease"

# What may become of a run. A pending one may be given up before it starts.
_NEXT: dict[Status, frozenset[Status]] = {
    "pending": frozenset({"running", "failed_abandoned"}),
    "running": frozenset({"succeeded", "failed_crash", "failed_abandoned", "failed_lost"}),
    "succeeded": frozenset(),
    "failed_crash": frozenset(),
    "failed_abandoned": frozenset(),
    "failed_lost": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Wandb:
    """Where a run is logged to in W&B."""

    run_id: str
    entity: str
    project: str
    dashboard_url: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A row of the table of runs of variations. `run_id` is its document's id.

    `lease_seconds`: how long each heartbeat is good for. `fence` counts the starts.
    """

    experiment_id: str
    variation: int
    number: int
    run_id: str
    status: Status
    created_at: datetime
    fence: int = 0
    worker: str = ""
    lease_token: str | None = None
    lease_seconds: int = LEASE_SECONDS
    lease_until: datetime | None = None
    heartbeat_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = ""
    wandb: Wandb | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return not _NEXT[self.status]

    @property
    def id(self) -> str:
        """What errors call it."""
        return f"{self.experiment_id}/{self.variation}/{self.number}"


@dataclass(frozen=True, slots=True)
class Worker:
    """Who wants to start a run: its name, the token it is to have, and how it wants to be held."""

    name: str
    token: str
    lease_seconds: int = LEASE_SECONDS
    wandb: Wandb | None = None


def started(run: Run, worker: Worker, now: datetime) -> Run:
    """The run as this worker has it. Raises `VariationRunStateError`.

    One of the same name may start it again, as after a crash; what it said before is late then.
    """
    if run.status == "running" and not (worker.name and worker.name == run.worker):
        raise VariationRunStateError(
            run.run_id, "running", "another worker has it; resume the variation when it has ended"
        )
    if run.status not in ("pending", "running"):
        raise VariationRunStateError(
            run.run_id, run.status, "it has ended; resume the variation for another run"
        )
    return replace(
        run,
        status="running",
        fence=run.fence + 1,
        worker=worker.name,
        lease_token=worker.token,
        lease_seconds=worker.lease_seconds,
        lease_until=now + timedelta(seconds=worker.lease_seconds),
        heartbeat_at=now,
        started_at=run.started_at or now,
        wandb=worker.wandb or run.wandb,
    )


def beaten(run: Run, token: str, now: datetime) -> Run:
    """The run with its lease prolonged. Raises `RunLeaseLostError`, `VariationRunStateError`."""
    require_lease(run, token)
    if run.status != "running":
        raise VariationRunStateError(run.run_id, run.status, "only a run that goes on has a heart")
    until = now + timedelta(seconds=run.lease_seconds)
    return replace(run, lease_until=until, heartbeat_at=now)


def ended(run: Run, status: Status, reason: str, token: str, now: datetime) -> Run:
    """The run as it has ended; a repeat changes nothing.

    Raises `RunLeaseLostError`, `VariationRunStateError`.
    """
    require_lease(run, token)
    if run.status == status:
        return run
    if status not in _NEXT[run.status]:
        mend = "start it first" if run.status == "pending" else "it has ended"
        raise VariationRunStateError(run.run_id, run.status, mend)
    return replace(run, status=status, reason=reason, finished_at=now, lease_until=None)


def lost(run: Run, now: datetime) -> Run:
    """The run, lost if its worker has been silent for too long; else the same run."""
    if run.status != "running" or run.lease_until is None or now < run.lease_until:
        return run
    return replace(run, status="failed_lost", reason=LOST, finished_at=now, lease_until=None)


def require_lease(run: Run, token: str) -> None:
    """Raise `RunLeaseLostError` for a token that is late, and for whatever a lost run still sends.

    Without a token the lease that holds is meant, whoever has it.
    """
    if run.status == "failed_lost" or (token and token != run.lease_token):
        raise RunLeaseLostError(run.run_id)


def lease_seconds(seconds: float | None) -> int:
    """How long a heartbeat is good for. Raises `InvalidFieldError`."""
    if seconds is None:
        return LEASE_SECONDS
    if not SHORTEST_LEASE <= seconds <= LONGEST_LEASE:
        raise InvalidFieldError("lease_duration", f"is {seconds:g} s", "give 1 s to 24 h (86400s)")
    return int(seconds)


def wandb(run_id: str, entity: str, project: str, dashboard_url: str) -> Wandb | None:
    """Where it is logged to; None for nowhere. Raises `WandbPartialTripleError`."""
    names = {"wandb_run_id": run_id, "wandb_entity": entity, "wandb_project": project}
    missing = [name for name, value in names.items() if not value]
    if len(missing) == len(names) and not dashboard_url:
        return None
    if missing:
        raise WandbPartialTripleError(missing[0])
    return Wandb(run_id, entity, project, dashboard_url)
