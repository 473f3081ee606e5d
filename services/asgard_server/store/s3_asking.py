"""Asking an S3 store through boto3, in threads: what all adapters that do so have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from gimle.asgard.core.errors import AsgardError
from gimle.asgard.core.s3.objects import translated
from gimle.asgard.core.s3.place import Connection, Place

from asgard_server.store.s3_keys import NOT_LENT, not_lent

T = TypeVar("T")

GONE = {"NoSuchKey", "NoSuchUpload", "404", "NotFound"}
"""What a store says of an object, or an upload in parts, that is not there."""
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "409", "412"}
"""What it says where a condition does not hold, such as that a key has no bytes yet."""


class Asking:
    """The questions of one place. `client` is boto3's, for calls from any thread.

    `read_seconds`: how long the store may say nothing, where that is not as usual.
    """

    def __init__(self, place: Place, pool: Executor, *, read_seconds: float | None = None) -> None:
        self._place = place
        self._connection = Connection(place, read_seconds=read_seconds)
        self._pool = pool

    @property
    def client(self) -> Any:
        """The client of the place; it waits, so not on the loop."""
        return self._connection.client()

    def at(self, key: str) -> dict[str, str]:
        """What boto3 calls the object of a key below the place."""
        return {"Bucket": self._place.bucket, "Key": self._place.key(key)}

    async def ask(self, work: Callable[[Any], T]) -> T:
        """Ask the store in a thread; its refusals are said in our words."""

        def asked() -> T:
            try:
                return work(self.client)
            except (ClientError, BotoCoreError) as error:
                raise translated(self._place, error) from error
            except NOT_LENT as error:
                if isinstance(error, AsgardError):  # some are errors of the system, too
                    raise
                raise not_lent(str(self._place), error) from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, asked)


def code_of(error: ClientError) -> str:
    """What a store calls its refusal."""
    return str(error.response.get("Error", {}).get("Code", ""))
