"""`python -m asgard_server.blob`, `asgard serve blob`: BlobService alone, as a replica."""

from __future__ import annotations

import sys

from asgard_server.processes import replica
from asgard_server.processes.blob_service import blob_service
from asgard_server.processes.starting import start
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings


async def serve_and_say(settings: Settings, tracer: Tracer | None = None) -> None:
    """Serve, and say on standard output where, as soon as it is ready."""
    await replica.serve_and_say(
        settings,
        "blob",
        lambda: blob_service(settings, tracer=tracer),
        keeps="the bytes of ",
        place="storage",
    )


if __name__ == "__main__":
    sys.exit(start(serve_and_say, service="blob"))
