"""`python -m asgard_server.asset`, `asgard serve asset`: AssetService alone, as a replica.

BlobService and RunService need not be there: what needs them says so until they are.
"""

from __future__ import annotations

import sys

from asgard_server.processes import replica
from asgard_server.processes.asset_service import asset_service
from asgard_server.processes.starting import start
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings


async def serve_and_say(settings: Settings, tracer: Tracer | None = None) -> None:
    """Serve, and say on standard output where, as soon as it is ready."""
    await replica.serve_and_say(
        settings,
        "asset",
        lambda: asset_service(settings, tracer=tracer),
        keeps="the assets of ",
        place="database",
    )


if __name__ == "__main__":
    sys.exit(start(serve_and_say, service="asset"))
