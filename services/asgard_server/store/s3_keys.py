"""Who signs what is asked of a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from json import JSONDecodeError

import boto3
from botocore.exceptions import BotoCoreError
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Credentials, Lent

NOT_LENT = (OSError, JSONDecodeError, UnicodeDecodeError, RuntimeError)
"""What botocore raises, besides its own errors, where a program gives no credentials any more: it
cannot be started, says something else, or gives such as have ended."""

# Credentials of a role are asked for so often, in a thread: to renew them is a call over the
# network, or a program's. Who lends them renews them minutes before they end.
RENEW_S = 30.0
# So often where nobody has lent any.
_AGAIN_S = 1.0


def not_lent(place: str, error: Exception) -> StorageUnavailableError:
    """What is told whoever asks a place meanwhile."""
    mend = f"credentials are lent no more ({error}); see to what lends them"
    return StorageUnavailableError(place, mend, passing=True)


def credentials_of(place: Place) -> Credentials | Callable[[], Credentials] | None:
    """The keys that are given with a place, or a function that lends those of this machine.

    The function may block, to renew them. None: nobody signs.
    """
    given = place.credentials
    if "aws_access_key_id" in given:
        return Credentials(
            given["aws_access_key_id"],
            given["aws_secret_access_key"],
            given.get("aws_session_token"),
        )
    found = boto3.Session().get_credentials()
    return None if found is None else Lent(found).credentials


class Renewed:
    """Credentials as they were last lent: asked for ahead of their end, never by who signs.

    Whoever may wait calls `keep` before it signs; for who signs without waiting somebody lets it
    `run`. `lent` may block, and is called in a thread. `place`: what they are for, in errors.
    """

    def __init__(self, place: str, lent: Callable[[], Credentials]) -> None:
        self._place = place
        self._lent = lent
        self._found: Credentials | Exception = RuntimeError("they have not been asked for")
        self._renew_at = 0.0

    def credentials(self) -> Credentials:
        """Those to sign with. Raises `StorageUnavailableError` while nobody lends any."""
        if isinstance(self._found, Exception):
            raise not_lent(self._place, self._found) from self._found
        return self._found

    async def keep(self) -> bool:
        """Ask for those of now where it is time to; whether somebody lends any."""
        if time.monotonic() >= self._renew_at:
            if not isinstance(self._found, Exception):
                # Others sign meanwhile with those of before, which hold for minutes.
                self._renew_at = time.monotonic() + RENEW_S
            await self.renew()
        return not isinstance(self._found, Exception)

    async def renew(self) -> None:
        """Ask for those of now."""
        try:
            self._found = await asyncio.to_thread(self._lent)
        except (BotoCoreError, *NOT_LENT) as error:
            self._found = error
        self._renew_at = time.monotonic() + self._pause()

    async def run(self) -> None:
        """Ask again and again."""
        while True:
            await asyncio.sleep(self._pause())
            await self.renew()

    def _pause(self) -> float:
        return _AGAIN_S if isinstance(self._found, Exception) else RENEW_S
