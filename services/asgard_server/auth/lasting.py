"""What lasts for as long as its caller is who they were: streams, which outlive a look-up.

A stream is let go within a second when its key is revoked or its token expires, and when its
caller has joined or left an organisation or a team: what they may see is not the same any more.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from gimle.asgard.core.errors import (
    AsgardError,
    ResumeTokenUnusableError,
    StorageUnavailableError,
)

from asgard_server.auth.principal import Principal

# With the time that a look-up is believed (verifying.SECONDS): less than a second.
LOOK_SECONDS = 0.3
# So often in a row nobody may be able to say who it is: then the stream is let go, too.
_PATIENCE = 100


def lasts(who: Principal) -> bool:
    """Whether nothing about a caller can change: one of ours, or who is asked for nothing."""
    return who.sees_everything and not who.key_id


async def until_another(
    again: Callable[[], Principal | Awaitable[Principal]], who: Principal
) -> AsgardError:
    """Wait until a caller is not `who` any more, of which `again` tells; answer why."""
    silent = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            found = again()
            now = await found if inspect.isawaitable(found) else found
        except StorageUnavailableError as error:
            silent += 1
            if silent >= _PATIENCE:
                return error
            continue
        except AsgardError as error:
            return error
        silent = 0
        if now != who:
            return ResumeTokenUnusableError(
                "who you are has changed since; begin again with a snapshot"
            )
