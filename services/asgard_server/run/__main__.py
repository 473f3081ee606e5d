"""`python -m asgard_server.run`, `asgard serve run`: RunService alone, as a replica."""

from __future__ import annotations

import sys

from asgard_server.processes import replica
from asgard_server.processes.run_service import run_service
from asgard_server.processes.starting import start
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings


async def serve_and_say(settings: Settings, tracer: Tracer | None = None) -> None:
    """Serve, and say on standard output where, as soon as it is ready."""
    await replica.serve_and_say(
        settings,
        "run",
        lambda: run_service(settings, else_any_port=False, tracer=tracer),
        keeps="",
        place="storage",
    )


if __name__ == "__main__":
    sys.exit(start(serve_and_say, service="run"))
