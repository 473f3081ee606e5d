"""Runs and results as they are now, for whoever answers with them: the document decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gimle.asgard.core.documents import RunDocument, decode_run, etag
from gimle.asgard.core.errors import EtagMismatchError, NotFoundError
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.run import codec
from asgard_server.run.apart import apart
from asgard_server.run.observe import Observer
from asgard_server.run.store import Documents, Found, Key, RunIndex, RunRow

# A run that lists more results unknown to the index than this is left to the scan.
_UNSEEN_LIMIT = 1_000


class Finder:
    """Looks runs and results up. All raise `NotFoundError` for what is not there."""

    def __init__(
        self,
        documents: Documents,
        index: RunIndex,
        observer: Observer,
        clock: Callable[[], datetime],
    ) -> None:
        self._documents = documents
        self._index = index
        self._observer = observer
        self._clock = clock

    async def found(self, key: Key) -> Found:
        """A document as it lies there."""
        found = await self._documents.read(key)
        if found is None:
            raise NotFoundError(key.kind, key.id)
        return found

    async def run(self, run_id: str) -> RunDocument:
        """A run as its document says it."""
        found = await self.found(Key("run", run_id))
        return await apart(len(found.body), decode_run, found.body, run_id, found.modified_at)

    async def stored(self, key: Key) -> pb.Result:
        """A result as its document says it, as its message."""
        found = await self.found(key)
        return await apart(len(found.body), codec.stored_result, key.id, found)

    async def seen(self, run_id: str, wanted: str) -> RunDocument | None:
        """The run the caller has seen, if an etag says so and it is still the present one."""
        if not wanted:
            return None
        found = await self.found(Key("run", run_id))
        present = await apart(len(found.body), etag, found.body)
        if present != wanted:
            raise EtagMismatchError(present)
        return await apart(len(found.body), decode_run, found.body, run_id, found.modified_at)

    async def known(self, run_id: str) -> tuple[RunRow, list[str]]:
        """A run as it is now, with its results: the union of its list and the index.

        The document decides: what it says and the index does not know yet (somebody
        else has just written it) is observed first.
        """
        found = await self.found(Key("run", run_id))
        run, name = await apart(len(found.body), codec.decoded_run, found, run_id)
        row = await self._index.run(run_id)
        ids = await self._index.result_ids(run_id)
        known = set(ids)
        unseen = [Key("result", each) for each in run.results if each not in known]
        if row is None or row.etag != name or unseen:
            await self._observer.observe(*unseen[:_UNSEEN_LIMIT], Key("run", run_id))
            row = await self._index.run(run_id)
            ids = await self._index.result_ids(run_id)
        if row is None:
            raise NotFoundError("run", run_id)
        return row, ids

    async def observed(self, run_id: str) -> pb.Run:
        """A run that has just been changed, as its message: observed, and the bell rung."""
        await self._observer.observe(Key("run", run_id))
        row = await self._index.run(run_id)
        if row is None:
            raise NotFoundError("run", run_id)
        return codec.run_message(row, self._clock(), await self._index.result_ids(run_id))
