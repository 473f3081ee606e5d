"""`chronicle.runs`: runs of variations by their numbers."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from methodic import paths
from methodic.answers import Answer
from methodic.transport import Transport


class Runs:
    """Every call on a run; `chronicle.run(...)` is a handle of one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, experiment_id: str, variation: int, run: int) -> Answer:
        """Its status, times, and reason."""
        found: Answer = self._transport.get(paths.run(experiment_id, variation, run)).run
        return found

    def start(
        self,
        experiment_id: str,
        variation: int,
        run: int,
        *,
        worker: str | None = None,
        lease_seconds: float | None = None,
        wandb: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Begin it: `.lease_token` goes with what is said of it from then on."""
        body: dict[str, Any] = {"worker": worker or _this_worker(), **(wandb or {})}
        if lease_seconds is not None:
            body["lease_duration"] = f"{lease_seconds:g}s"
        return self._say(experiment_id, variation, run, "start", body)

    def heartbeat(
        self, experiment_id: str, variation: int, run: int, *, lease_token: str | None = None
    ) -> Answer:
        """Say that it goes on."""
        return self._say(experiment_id, variation, run, "heartbeat", {"lease_token": lease_token})

    def succeed(
        self, experiment_id: str, variation: int, run: int, *, lease_token: str | None = None
    ) -> Answer:
        """End it well."""
        return self._say(experiment_id, variation, run, "succeed", {"lease_token": lease_token})

    def fail(
        self,
        experiment_id: str,
        variation: int,
        run: int,
        reason: str = "no reason given",
        *,
        lease_token: str | None = None,
    ) -> Answer:
        """End it as failed; its pending assets are abandoned."""
        body = {"reason": reason, "lease_token": lease_token}
        return self._say(experiment_id, variation, run, "fail", body)

    def _say(
        self, experiment_id: str, variation: int, run: int, what: str, body: dict[str, Any]
    ) -> Answer:
        path = f"{paths.run(experiment_id, variation, run)}/{what}"
        # Safe to repeat: the server compares worker and lease.
        found: Answer = self._transport.post(path, body, safe=True)
        return found


def _this_worker() -> str:
    """A name that another process has not: whoever has it may start again what it has started."""
    return f"{socket.gethostname()}-{os.getpid()}"
