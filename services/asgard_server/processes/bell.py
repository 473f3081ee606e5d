"""The bell that settings choose: Redis between replicas, or this process alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from asgard_server.feed.feed import Feed
from asgard_server.feed.memory import MemoryFeed
from asgard_server.settings import SettingError, Settings


def open_bell(
    settings: Settings, stack: AsyncExitStack, *, measured: bool = True
) -> tuple[Feed, Callable[[], str]]:
    """The bell, and what says why it does not reach others; empty while it does.

    `measured`: whether it is the one that metrics tell of. Raises `SettingError`.
    """
    if settings.redis_url is None:
        return MemoryFeed(measured=measured), lambda: ""
    from asgard_server.feed.redis import RedisFeed

    try:
        feed = RedisFeed(settings.redis_url)
    except ValueError as error:
        raise SettingError("ASGARD_REDIS_URL", "cannot be used", str(error)) from error
    stack.push_async_callback(feed.aclose)
    feed.start()
    return feed, lambda: feed.problem
