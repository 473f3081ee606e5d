"""Removing files of arrays that were uploaded and that no document names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from gimle.asgard.core.documents import decode_result
from gimle.asgard.core.errors import AsgardError
from gimle.asgard.core.growth import references

from asgard_server.run.grants import Grants, Intent, Intents
from asgard_server.run.intents import MARGIN, SECONDS, is_stored
from asgard_server.run.store import Documents, Key

SWEPT_EVERY_S = 60.0

log = structlog.get_logger("asgard.run")


class Sweeper:
    """Ends intents whose grants have ended, and removes what is of no use any more."""

    def __init__(
        self,
        grants: Grants,
        intents: Intents,
        documents: Documents,
        clock: Callable[[], datetime],
    ) -> None:
        self._grants = grants
        self._intents = intents
        self._documents = documents
        self._clock = clock

    async def run(self) -> None:
        """Remove, until cancelled, what was uploaded and no document names."""
        while True:
            try:
                async with self._intents.turn() as ours:
                    if ours:
                        await self.sweep()
            except AsgardError as error:
                log.info("uploads of arrays are swept later", problem=str(error))
            await asyncio.sleep(SWEPT_EVERY_S)

    async def sweep(self) -> int:
        """End intents whose grants have ended; answer how many.

        Only then: until the last grant has ended, a file that was removed might come again.
        """
        ended = 0
        now = self._clock()
        for result_id in await self._intents.untouched(now - timedelta(seconds=SECONDS)):
            found = await self._intents.find(result_id)
            if found is None or now < found[0].until + MARGIN:
                continue
            intent, stamp = found
            # From here on whoever comes to name its files is refused; or he was faster.
            if await self._intents.replace(replace(intent, swept=True), stamp) is None:
                continue
            await self.remove_unnamed(intent)
            await self._intents.remove(result_id)
            ended += 1
        return ended

    async def remove_unnamed(self, intent: Intent) -> None:
        """Remove the files of an intent that the document of its result does not name."""
        paths = [file.ref.path for file in intent.files]
        found = await self._documents.read(Key("result", intent.grows or intent.result_id))
        if found is not None:
            if intent.grows is None:
                return
            result = await asyncio.to_thread(
                decode_result, found.body, intent.grows, found.modified_at
            )
            named = {path for ref in references(result.data) for path, _ in ref.files}
            paths = [path for path in paths if path not in named]
        if not paths:
            return
        if intent.grows is not None and await is_stored(self._documents, intent.result_id):
            return  # one that has come since under the append's own id may name them, too
        await self._grants.remove(paths)
