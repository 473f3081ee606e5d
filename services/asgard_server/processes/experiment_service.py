"""ExperimentService put together: a part of the process that keeps assets, over its tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from gimle.asgard.v1 import experiment_service_pb2, experiment_service_pb2_grpc

from asgard_server.experiment.documents import KIND
from asgard_server.experiment.handlers import ExperimentHandlers, Parts
from asgard_server.experiment.keeping import Keeper
from asgard_server.experiment.linking import Linker
from asgard_server.experiment.retracting import Retractor
from asgard_server.experiment.sharing import Sharer
from asgard_server.experiment.sweeping import LeaseSweeper, Turns
from asgard_server.experiment.tracing import Tracer
from asgard_server.experiment.working import Floor
from asgard_server.outbox.delivery import Receiver
from asgard_server.rpc.server import Service
from asgard_server.store.rpc_runs import RpcRuns
from asgard_server.store.sql.experiments import SqlShelf
from asgard_server.store.sql.inheriting import WORD, Inheritance
from asgard_server.store.sql.session import Database

EXPERIMENT_SERVICE = experiment_service_pb2.DESCRIPTOR.services_by_name[
    "ExperimentService"
].full_name


@dataclass(frozen=True, slots=True)
class ExperimentParts:
    """ExperimentService as a part of a process.

    `work` is to be run beside it. `receivers`: who does what it leaves to be done elsewhere, by the
    kinds of words.
    """

    service: Service
    work: Callable[[], Coroutine[Any, Any, None]]
    receivers: Mapping[str, Receiver]


def open_experiments(
    database: Database,
    turns: Turns,
    to_runs: grpc.aio.Channel,
    runs_at: str,
    told: Callable[[], Awaitable[None]],
) -> ExperimentParts:
    """ExperimentService over its tables; `to_runs` leads to RunService, which is `runs_at`.

    `told` is called after each change: watchers are to look.
    """
    shelf = SqlShelf(database)
    parts = Parts(
        Keeper(shelf, _now, told),
        Sharer(shelf, _now, told),
        Linker(shelf, _now, told),
        Retractor(shelf, _now, told),
        Tracer(shelf),
        Floor(shelf, _now, told),
    )
    add = experiment_service_pb2_grpc.add_ExperimentServiceServicer_to_server
    return ExperimentParts(
        Service(EXPERIMENT_SERVICE, add, ExperimentHandlers(parts, _now)),
        LeaseSweeper(shelf, turns, _now, told).run,
        {KIND: RpcRuns(to_runs, runs_at).put, WORD: Inheritance(database, _now, told).give},
    )


def _now() -> datetime:
    return datetime.now(UTC)
