"""Finishing in S3 what somebody began who died: writes that nobody observed, deletions, lists."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from gimle.asgard.core.errors import StorageFullError, StorageUnavailableError
from gimle.asgard.core.s3.markers import BARRED_FOR_S
from gimle.asgard.core.s3.reading import document_path

from asgard_server.run.ledger import Deletion, Ledger, Write
from asgard_server.run.store import Key
from asgard_server.store.s3_deleting import DEAD_AFTER_S, Deleter
from asgard_server.store.s3_lists import ResultLists
from asgard_server.store.s3_objects import Objects
from asgard_server.store.s3_writing import Writing

Observe = Callable[..., Awaitable[int]]

LOOKS_EVERY_S = 2.0
# Whoever writes arrays says every few seconds that he lives; to remove them, nobody must be slow.
GIVEN_UP_AFTER_S = 60.0
# A deletion says so once before each step, and a step has thousands of objects at most.
_DELETES_FOR_S = 60.0
_LISTS_WITHIN_S = 5.0
# A store refuses a request that was signed a quarter of an hour ago, whenever it arrives.
STRAYS_FOR_S: float = BARRED_FOR_S
_AT_ONCE = 64

log = structlog.get_logger()


class Finisher:
    """Looks in the ledger for work that nobody goes on with. One replica does at a time."""

    def __init__(
        self,
        objects: Objects,
        ledger: Ledger,
        writing: Writing,
        deleter: Deleter,
        lists: ResultLists,
        *,
        dead_after_s: float = DEAD_AFTER_S,
    ) -> None:
        self._objects = objects
        self._ledger = ledger
        self._writing = writing
        self._deleter = deleter
        self._lists = lists
        self._dead_after_s = dead_after_s

    async def run(self, observe: Observe) -> None:
        """Look until cancelled. `observe` makes the index agree with documents."""
        while True:
            try:
                async with self._ledger.held("finish") as ours:
                    if ours:
                        await self._look(observe)
                    await asyncio.sleep(LOOKS_EVERY_S)
            except (StorageUnavailableError, StorageFullError) as error:
                # Whoever serves requests says so; here it is waited for.
                log.info("unfinished work is left for later", problem=str(error))
                await asyncio.sleep(LOOKS_EVERY_S)

    async def _look(self, observe: Observe) -> None:
        await self._observe_begun(observe)
        for deletion in await self._ledger.marked(_DELETES_FOR_S):
            log.info("finishing a deletion", kind=deletion.key.kind, id=deletion.key.id)
            await self._deleter.finish(deletion)
            await observe(*(Key("result", one) for one in deletion.results), deletion.key)
        for run_id in {write.run_id for write in await self._ledger.unlisted(_LISTS_WITHIN_S)}:
            self._lists.add(run_id)
        for stray in await self._ledger.strays(STRAYS_FOR_S):
            await self._deleter.unbar(stray)

    async def _observe_begun(self, observe: Observe) -> None:
        """Observe what was being written by somebody who is dead, or could not say the end."""
        begun = await self._ledger.begun(self._dead_after_s)
        plain = [write for write in begun if not write.files]
        old = {write.token for write in await self._ledger.begun(GIVEN_UP_AFTER_S)}
        plain += [
            write
            for write in begun
            if write.files and not await self._gave_up(write, write.token in old)
        ]
        for start in range(0, len(plain), _AT_ONCE):
            some = plain[start : start + _AT_ONCE]
            log.info("observing writes that nobody ended", writes=len(some))
            # What the dead have sent may arrive when they are forgotten.
            await self._ledger.stray(some)
            for write in some:
                self._writing.note(write)
            await observe(*dict.fromkeys(write.key for write in some))

    async def _gave_up(self, write: Write, long_ago: bool) -> bool:
        """Whether a writer of arrays has not come to his document; if for long, they go."""
        if await self._objects.etag(document_path(*write.key)) is not None:
            return False
        if long_ago:
            # From now on the writer is refused, should he live after all; or he has just said so.
            deletion = Deletion(write.key, write.run_id, (), write.files)
            await self._ledger.mark(deletion)
            still = await self._ledger.begun(GIVEN_UP_AFTER_S, write.run_id)
            if any(one.token == write.token for one in still):
                await self._ledger.stray([write])
                await self._ledger.end([write.token])
                await self._deleter.finish(deletion)
            else:
                await self._ledger.unmark(write.key, free=True)
        return True
