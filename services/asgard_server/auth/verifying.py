"""Tokens that were looked up a moment ago are not looked up again."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from gimle.asgard.core.access_errors import UnauthenticatedError

from asgard_server.auth.principal import Principal

# So long is an answer believed: what is revoked is refused everywhere within a second, and what
# lasts is let go (lasting.LOOK_SECONDS).
SECONDS = 0.6
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """Who shows a token, None for one that nobody knows; and until when it is good."""

    principal: Principal | None
    expires_at: datetime | None = None


LookUp: TypeAlias = Callable[[str], Awaitable[Verified]]
"""Looks a token up where it is known. Raises `UnauthenticatedError`."""


class _Entry:
    __slots__ = ("answer", "until")

    def __init__(self, answer: asyncio.Task[Verified], until: float) -> None:
        self.answer = answer
        self.until = until


class Verifier:
    """A `believing.Verify` over a look-up; each answer is believed for less than a second.

    Of those who show the same token at once, one looks it up. `now` and `monotonic` are clocks.
    """

    def __init__(
        self,
        look_up: LookUp,
        *,
        seconds: float = SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._now = now
        self._monotonic = monotonic
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def __call__(self, token: str) -> Principal | None:
        """Say who shows a token. Raises `UnauthenticatedError`, and what the look-up does."""
        return (await self.verified(token)).principal

    async def verified(self, token: str) -> Verified:
        """Say who shows a token, and until when it is good."""
        at = self._monotonic()
        entry = self._entries.get(token)
        if entry is None or at >= entry.until:
            # Its time runs from before it is looked up: what changes meanwhile is not missed.
            looking = asyncio.ensure_future(self._look_up(token))
            looking.add_done_callback(lambda ended: self._ended(token, ended))
            entry = self._entries[token] = _Entry(looking, at + self._seconds)
            self._entries.move_to_end(token)
            if len(self._entries) > _MOST:
                self._entries.popitem(last=False)
        # The look-up is everybody's: who stops waiting does not stop it for the others.
        verified = await asyncio.shield(entry.answer)
        if verified.expires_at is not None and verified.expires_at <= self._now():
            self._entries.pop(token, None)
            return await self._look_up(token)
        return verified

    def forget(self) -> None:
        """Look everything up again: something is different now."""
        self._entries.clear()

    def _ended(self, token: str, looked_up: asyncio.Task[Verified]) -> None:
        """What failed otherwise than by a refusal may go well the next time."""
        if looked_up.cancelled() or not isinstance(
            looked_up.exception(), UnauthenticatedError | None
        ):
            entry = self._entries.get(token)
            if entry is not None and entry.answer is looked_up:
                del self._entries[token]
