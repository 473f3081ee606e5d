"""The change log of assets is kept to a length: whoever resumes from before begins anew."""

from __future__ import annotations

import asyncio

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.asset.access_store import Log

_EVERY_SECONDS = 60.0


async def keep_trimmed(log: Log, kept: int) -> None:
    """Forget all but the `kept` newest entries, again and again, until cancelled."""
    said = structlog.get_logger("asgard.asset")
    while True:
        try:
            if (await log.head())[1] > kept:
                await log.trim(kept)
        except AsgardError as error:
            said.warning("the change log of assets cannot be trimmed", error=str(error))
        await asyncio.sleep(_EVERY_SECONDS)
