"""Arrays that their client has put into the store: whether they are whole, and the right ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from gimle.asgard.core.arrays import dtype_named
from gimle.asgard.core.errors import (
    AsgardError,
    DigestMismatchError,
    InvalidFieldError,
    LengthMismatchError,
)
from gimle.asgard.core.folder.npy import header

from asgard_server.run.grants import Granted, Grants, Held, Intent, Intents
from asgard_server.run.intents import TRIES, busy, live, until
from asgard_server.run.sweeping import Sweeper

# Files are looked at side by side.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client says of a file it has uploaded: its digests, in hexadecimal."""

    sha256: str
    sha256_parts: str | None


class Arriving:
    """Looks at what has come of what was granted, before a document names it."""

    def __init__(
        self, grants: Grants, intents: Intents, sweeper: Sweeper, clock: Callable[[], datetime]
    ) -> None:
        self._grants = grants
        self._intents = intents
        self._sweeper = sweeper
        self._clock = clock

    async def rows_arrived(
        self, upload_id: str, grows: str, sent: Mapping[str, Sent]
    ) -> dict[str, Granted]:
        """The files of these rows, as `arrived` answers those of a result."""
        return await self._arrived(upload_id, "", sent, "", grows)

    @asynccontextmanager
    async def taking(self, upload_id: str) -> AsyncIterator[None]:
        """Append the rows of this upload inside; then remove what is of no use any more.

        That is what was copied, and what another length refuses for good: the room is wanted now.
        After any other error it may still become a part of the result; the sweeper knows later.
        """
        try:
            yield
        except LengthMismatchError:
            await self._rows_taken(upload_id)
            raise
        await self._rows_taken(upload_id)

    async def _rows_taken(self, upload_id: str) -> None:
        with suppress(AsgardError):  # the sweeper comes by anyway
            found = await self._intents.find(upload_id) if upload_id else None
            if found is not None:
                await self._sweeper.remove_unnamed(found[0])

    async def arrived(
        self, result_id: str, run_id: str, sent: Mapping[str, Sent], at: str
    ) -> dict[str, Granted]:
        """The files of these arrays, by key, after a look that they are whole and the right ones.

        From here on, for as long as grants hold, nobody sweeps them: write their document now.
        Raises `UploadIncompleteError`, `DigestMismatchError`, `UploadEndedError`, and
        `InvalidFieldError` for arrays that were not granted. `at` is put before field names.
        """
        return await self._arrived(result_id, run_id, sent, at, None)

    async def _arrived(
        self, result_id: str, run_id: str, sent: Mapping[str, Sent], at: str, grows: str | None
    ) -> dict[str, Granted]:
        intent = await self._kept(result_id, run_id, at, grows)
        known = {file.key: file for file in intent.files}
        for key in sent:
            if key not in known:
                raise InvalidFieldError(
                    f"{at}uploaded[{key!r}]", "was not granted", "ask CreateResultUploads for it"
                )
        files = [
            replace(known[key], sha256=known[key].sha256 or each.sha256)
            for key, each in sent.items()
        ]
        outcomes = await self._grants.settle([known[key].wanted for key in sent])
        for file, held in zip(files, outcomes, strict=True):
            if isinstance(held, AsgardError):
                raise held
            _check_digests(file, held, sent[file.key])
        turns = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._check_head(file, turns) for file in files))
        # Putting parts together may have taken long.
        await self._kept(result_id, run_id, at, grows)
        return {file.key: file for file in files}

    async def known(self, result_id: str, sent: Mapping[str, Sent]) -> dict[str, Granted]:
        """Those of the arrays of a result that is stored of which it is known how they came."""
        found = await self._intents.find(result_id)
        files = {} if found is None else {file.key: file for file in found[0].files}
        return {
            key: replace(files[key], sha256=each.sha256)
            for key, each in sent.items()
            if key in files and files[key].sha256 in (None, each.sha256)
        }

    async def _kept(self, result_id: str, run_id: str, at: str, grows: str | None) -> Intent:
        """The intent, which nobody sweeps from now on for as long as grants hold."""
        for _ in range(TRIES):
            intent, stamp = await live(self._intents, result_id)
            if intent.grows != grows:
                raise InvalidFieldError(
                    f"{at}result_id", "is not what it was granted for", "ask CreateResultUploads"
                )
            if grows is None and intent.run_id != run_id:
                raise InvalidFieldError(
                    f"{at}run_id", f"is not {intent.run_id}", "give the run it was begun for"
                )
            kept = replace(intent, until=until(self._clock))
            if await self._intents.replace(kept, stamp) is not None:
                return kept
        raise busy(result_id)

    async def _check_head(self, file: Granted, turns: asyncio.Semaphore) -> None:
        ref = file.ref
        head = header(dtype_named(ref.dtype), ref.stored_shape)
        async with turns:
            if not await self._intents.holds(ref.path, head):
                raise DigestMismatchError(
                    ref.path, f"the file is not a .npy of {ref.dtype} {list(ref.stored_shape)}"
                )


def _check_digests(file: Granted, held: Held, sent: Sent) -> None:
    if file.sha256 != sent.sha256:
        raise DigestMismatchError(file.ref.path, f"its SHA-256 was declared as {file.sha256}")
    told = [(held.sha256, sent.sha256), (held.sha256_parts, sent.sha256_parts)]
    if any(None not in pair and pair[0] != pair[1] for pair in told):
        raise DigestMismatchError(file.ref.path, "other bytes lie there than were declared")
