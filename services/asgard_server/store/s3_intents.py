"""Intents of uploads as objects beside the documents: the port `Intents` in S3."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from gimle.asgard.core.ids import check_id, is_id
from gimle.asgard.core.s3.objects import ConflictError

from asgard_server.run.grants import Intent
from asgard_server.run.ledger import Ledger
from asgard_server.store.granted_intents import FOLDER, decoded, encoded
from asgard_server.store.s3_objects import Objects


class S3Intents:
    """The intents of a prefix: an object each, replaced on its etag."""

    def __init__(self, objects: Objects, ledger: Ledger) -> None:
        self._objects = objects
        self._ledger = ledger

    async def create(self, intent: Intent) -> str | None:
        """Write an intent; answer its stamp, None when there is one."""
        made = await self._objects.create(_path(intent.result_id), encoded(intent))
        return None if made is None else made.etag

    async def find(self, result_id: str) -> tuple[Intent, str] | None:
        """Look one up, with its stamp."""
        found = await self._objects.get(_path(result_id))
        intent = None if found is None else decoded(result_id, found.body)
        return None if found is None or intent is None else (intent, found.etag)

    async def replace(self, intent: Intent, stamp: str) -> str | None:
        """Write it in the place of the one of this stamp; None when that is another by now."""
        try:
            return await self._objects.replace(_path(intent.result_id), encoded(intent), stamp)
        except ConflictError:
            return None

    async def remove(self, result_id: str) -> None:
        """Forget one."""
        await self._objects.delete([_path(result_id)])

    async def untouched(self, before: datetime) -> list[str]:
        """Results whose intents were last written before then."""
        return await asyncio.to_thread(self._untouched, before)

    def _untouched(self, before: datetime) -> list[str]:
        names = (
            (listed.path.rpartition("/")[2].removesuffix(".json"), listed.modified)
            for listed in self._objects.list(FOLDER)
        )
        return [name for name, modified in names if modified < before and is_id(name)]

    async def holds(self, path: str, head: bytes) -> bool:
        """Whether a file of the place begins so."""
        return await asyncio.to_thread(self._objects.part_now, path, 0, len(head)) == head

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """Say inside whether it is this replica that sweeps."""
        return self._ledger.held("granted")


def _path(result_id: str) -> str:
    return f"{FOLDER}/{check_id(result_id, 'result_id')}.json"
