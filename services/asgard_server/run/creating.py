"""Creating what a client may ask for twice (protocols 6).

A client that brings the id may repeat a create whose answer it never saw: the same
request answers what exists, another one under that id is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.documents import (
    ResultDocument,
    RunDocument,
    decode_result,
    decode_run,
    encode_run,
    etag,
)
from gimle.asgard.core.errors import AlreadyExistsError, DeletedError, NotFoundError
from gimle.asgard.core.growth import references

from asgard_server.run import repeats
from asgard_server.run.observe import Observer
from asgard_server.run.store import CreatingAtOnce, Documents, Key, ResultRow, RunIndex, RunRow

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for an id: its digest tells it from others. None where the id is ours.

    `timed`: the caller gave the time; `given`: the ids of results that he gave. `reads` tells
    whether he may read a run: what is somebody else's is no repeat of his.
    """

    digest: bytes | None
    timed: bool = False
    given: tuple[str, ...] = ()
    reads: Callable[[RunDocument], bool] = lambda run: True


class Creator:
    """Writes new documents, and recognises what it has written before."""

    def __init__(
        self,
        documents: Documents,
        index: RunIndex,
        observer: Observer,
        clock: Callable[[], datetime],
        at_once: CreatingAtOnce | None = None,
    ) -> None:
        self._documents = documents
        self._at_once = at_once
        self._index = index
        self._observer = observer
        self._clock = clock
        self._under_way: dict[Key, asyncio.Task[Any]] = {}

    async def run(
        self, run: RunDocument, results: Sequence[ResultDocument], claim: Claim
    ) -> RunRow:
        """Write a run with its results; answer it as it now stands, which may be older.

        Raises `AlreadyExistsError` when an id is taken by something else and
        `DeletedError` when it belonged to something deleted.
        """
        key = Key("run", run.id)
        keys = (*(Key("result", result.id) for result in results), key)
        for given in claim.given:
            await self._refuse_deleted(Key("result", given))
        if claim.digest is None:
            return await self._stands(run, await self._write_run(run, results, keys, None))
        work = partial(self._claimed_run, run, results, claim, claim.digest, keys)
        return await self._alone(key, work)

    async def _claimed_run(
        self,
        run: RunDocument,
        results: Sequence[ResultDocument],
        claim: Claim,
        digest: bytes,
        keys: Sequence[Key],
    ) -> RunRow:
        key = Key("run", run.id)
        await self._refuse_deleted(key)
        try:
            name = await self._write_run(run, results, keys, digest)
        except AlreadyExistsError as taken:
            await self._settle_run(run, results, claim, taken)
            await self._acknowledge(key, digest, keys)
            name = ""
        return await self._stands(run, name)

    async def _write_run(
        self,
        run: RunDocument,
        results: Sequence[ResultDocument],
        keys: Sequence[Key],
        digest: bytes | None,
    ) -> str:
        """Write a new run and make it known; answer its etag, empty where that is not known."""
        if self._at_once is not None and not results:
            created = await self._at_once.create_run(run, digest)
            await self._observer.ring(created.revision)
            return created.etag
        await self._documents.create_run(run, results)
        if digest is None:
            await self._observer.observe(*keys)
        else:
            await self._acknowledge(Key("run", run.id), digest, keys)
        return "" if results else etag(encode_run(run))

    async def result(self, result: ResultDocument, claim: Claim) -> ResultRow:
        """Write a result of a run that exists; answer it as it now stands.

        Raises as `run` does, and `NotFoundError`.
        """
        key = Key("result", result.id)
        if claim.digest is None:
            keys = await self._documents.add_result(result)
            row = await self._observer.take_in(keys, key)
        else:
            row = await self._alone(key, partial(self._claimed_result, result, claim.digest))
        if row is None:
            raise NotFoundError(*key)
        return row

    async def _claimed_result(self, result: ResultDocument, digest: bytes) -> ResultRow | None:
        key = Key("result", result.id)
        await self._refuse_deleted(key)
        try:
            keys = await self._documents.add_result(result)
        except AlreadyExistsError as taken:
            if not await self._added_by(result, digest):
                raise taken
            keys = (key, Key("run", result.run_id))
        # Side by side, so that both are in one commit of the index's writer.
        _, row = await asyncio.gather(
            self._index.remember(key, digest), self._observer.take_in(keys, key)
        )
        return row

    async def _alone(self, key: Key, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Do the work for an id behind what is under way for it, and to its end.

        A repeat comes when its caller has lost patience with the first: that one may still be
        writing, and must neither be taken for one that died nor be left half done.
        """
        while (before := self._under_way.get(key)) is not None:
            await asyncio.wait([before])
        task = self._under_way[key] = asyncio.create_task(work())
        task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: Key, task: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # looked at, although its caller may have left

    async def _stands(self, run: RunDocument, name: str) -> RunRow:
        """The run as it is now; the index is not asked about a new and empty one, etag `name`."""
        if name and not run.results and run.created_at <= self._clock():
            return RunRow(run, 0, name, run.updated_at)
        row = await self._index.run(run.id)
        if row is None:
            raise NotFoundError("run", run.id)
        return row

    async def _acknowledge(self, key: Key, digest: bytes, keys: Sequence[Key]) -> None:
        # Side by side, so that both are in one commit of the index's writer.
        await asyncio.gather(self._index.remember(key, digest), self._observer.observe(*keys))

    async def _refuse_deleted(self, key: Key) -> None:
        deleted_at = await self._index.tombstone(key)
        if deleted_at is not None:
            raise DeletedError(key.id, deleted_at)

    async def _settle_run(
        self,
        run: RunDocument,
        results: Sequence[ResultDocument],
        claim: Claim,
        taken: AlreadyExistsError,
    ) -> None:
        """Recognise a repeat, or finish what an attempt that died has begun."""
        found = await self._documents.read(Key("run", run.id))
        if found is not None:
            there = decode_run(found.body, run.id, found.modified_at)
            if not claim.reads(there):
                raise AlreadyExistsError("run", run.id)
            known = await self._index.recall(Key("run", run.id))
            same = (
                known == claim.digest
                if known is not None and len(known) == len(claim.digest or b"")
                # Written, but not acknowledged: the content itself must tell.
                else repeats.same_run(run, there, timed=claim.timed)
            )
            if not same:
                raise AlreadyExistsError("run", run.id)
            return
        missing = [result for result in results if not await self._is_there(result)]
        if len(missing) == len(results):
            raise taken
        await self._documents.create_run(run, missing)

    async def _added_by(self, result: ResultDocument, digest: bytes) -> bool:
        known = await self._index.recall(Key("result", result.id))
        if known is not None and len(known) == len(digest):
            return known == digest
        # Not known, or of a request that sent its arrays another way: the content must tell.
        return await self._is_there(result)

    async def _is_there(self, result: ResultDocument) -> bool:
        """Whether this very result is stored; raises `AlreadyExistsError` for another one."""
        found = await self._documents.read(Key("result", result.id))
        if found is None:
            return False
        stored = await self._documents.open_result(result.id)
        if any(references(result.data)):
            document = decode_result(found.body, result.id, found.modified_at)
            loaded = _loaded(result.data, document.data, stored.data)
            result = replace(result, data=loaded)
        if not await asyncio.to_thread(repeats.same_result, result, stored):
            raise AlreadyExistsError("result", result.id)
        return True


def _loaded(wanted: Any, document: Any, stored: Any) -> Any:
    """Data with the stored array in the place of each reference that the document has, too."""
    if isinstance(wanted, ArrayRef):
        return stored if wanted == document else None
    if isinstance(wanted, dict) and isinstance(document, dict):
        return {
            key: _loaded(value, document.get(key), stored.get(key)) for key, value in wanted.items()
        }
    if isinstance(wanted, list) and isinstance(document, list) and len(wanted) == len(document):
        return list(map(_loaded, wanted, document, stored))
    return wanted
