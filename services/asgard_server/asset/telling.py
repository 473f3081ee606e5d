"""Who is told that something changed: watchers are to look at the change log.

The change is committed by then: trouble in telling of it is no trouble of the change. Watchers look
by themselves before long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.feed.feed import Feed

Told: TypeAlias = Callable[[], Awaitable[None]]

TOPIC = "assets"


def bell(head: Callable[[], Awaitable[int]], feed: Feed) -> Told:
    """What rings when something has changed. `head` answers the newest revision of the log."""

    log = structlog.get_logger("asgard.asset")

    async def told() -> None:
        try:
            await feed.ring(TOPIC, await head())
        except AsgardError as error:
            log.warning("watchers are not told at once", error=str(error))

    return told
