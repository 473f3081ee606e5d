"""Who is told that something changed: watchers are to look at the change log.

The change is committed by then: trouble in telling of it is no trouble of the change. Watchers look
by themselves before long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.feed.feed import Feed

Told: TypeAlias = Callable[[], Awaitable[None]]

TOPIC = "assets"


def bell(head: Callable[[], Awaitable[int]], feed: Feed) -> Told:
    """What rings when something has changed. `head` answers the newest revision of the log.

    Changes that are answered together are told together.
    """

    log = structlog.get_logger("asgard.asset")
    to_ring: asyncio.Task[None] | None = None

    async def ring() -> None:
        nonlocal to_ring
        to_ring = None  # who comes from here on may have changed what this look does not see
        try:
            await feed.ring(TOPIC, await head())
        except AsgardError as error:
            log.warning("watchers are not told at once", error=str(error))

    async def told() -> None:
        nonlocal to_ring
        if to_ring is None:
            to_ring = asyncio.create_task(ring(), name="telling")
        # It is everybody's: who stops waiting does not stop it for the others.
        await asyncio.shield(to_ring)

    return told
