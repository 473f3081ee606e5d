"""Who is told that something changed: watchers are to look at the change log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from asgard_server.feed.feed import Feed

Told: TypeAlias = Callable[[], Awaitable[None]]

TOPIC = "assets"


def bell(head: Callable[[], Awaitable[int]], feed: Feed) -> Told:
    """What rings when something has changed. `head` answers the newest revision of the log."""

    async def told() -> None:
        await feed.ring(TOPIC, await head())

    return told
