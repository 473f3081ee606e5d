"""Documents in S3: the ports `Documents` and `WatchedPlace` over objects and a ledger.

An object store has conditions, but neither locks nor transactions. So each write is begun in
the ledger, made on condition of what is there, and ended by the index that observes it. What
a replica that died has begun, another finishes (protocols 1 to 3).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from zlib import crc32

import structlog
from gimle.asgard.core.documents import (
    ResultDocument,
    RunDocument,
    decode_result,
    decode_run,
    encode_run,
)
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    DocumentError,
    InvalidFieldError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.listing import with_results
from gimle.asgard.core.s3.append import Appender, own_chunk
from gimle.asgard.core.s3.deleting import Deleter as SlowDeleter
from gimle.asgard.core.s3.objects import ConflictError
from gimle.asgard.core.s3.objects import Objects as SlowObjects
from gimle.asgard.core.s3.opening import open_place
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.s3.reading import document_path

from asgard_server.run.ledger import Ledger, Write
from asgard_server.run.store import Found, Key, Rows
from asgard_server.store.array_cache import ArrayCache
from asgard_server.store.s3_arrays import Arrays
from asgard_server.store.s3_creating import Creator
from asgard_server.store.s3_deleting import Deleter
from asgard_server.store.s3_finishing import Finisher
from asgard_server.store.s3_intents import S3Intents
from asgard_server.store.s3_lists import REWRITTEN_EVERY_S, ResultLists
from asgard_server.store.s3_objects import Objects
from asgard_server.store.s3_reading import S3Reading
from asgard_server.store.s3_threads import Threads
from asgard_server.store.s3_writing import Writing, new_write
from asgard_server.store.written import Written

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

_STRIPES = 1_024
_MERGERS = 4
# For how long a run that was seen is believed to be there. Deletions by services are in the
# ledger, and for longer.
_SEEN_FOR_S = 60.0
_SEEN_RUNS = 10_000
CACHE_BYTES = 2 << 30


class S3Documents(S3Reading):
    """The runs, results and arrays of a prefix of a bucket, which many replicas write.

    Made by `open`; `run` keeps lists, and finishes what replicas that died have begun.
    """

    def __init__(
        self,
        objects: Objects,
        slow: SlowObjects,
        ledger: Ledger,
        cache: ArrayCache,
        storage_id: str | None,
        list_every_s: float,
    ) -> None:
        super().__init__(objects, ledger, storage_id)
        #: What the index must be given, so that it need not read what was written here.
        self.written = Written()
        self._threads = Threads()
        #: What is being uploaded by grants.
        self.intents = S3Intents(objects, ledger)
        self._arrays = Arrays(objects, slow, cache)
        self._appender = Appender(slow)
        self._deleter = Deleter(objects, ledger, SlowDeleter(slow), self.written, self._gone)
        self._writing = Writing(objects, ledger, self.written, self._deleter.finish_begun)
        self._creator = Creator(objects, self._arrays, self.intents, self._writing, self._threads)
        self._lists = ResultLists(ledger, self._rewrite_list, list_every_s)
        self._finisher = Finisher(objects, ledger, self._writing, self._deleter, self._lists)
        self._turns = [asyncio.Lock() for _ in range(_STRIPES)]
        self._seen: dict[str, float] = {}
        self._merging: set[asyncio.Task[None]] = set()
        self._observe: Callable[..., Awaitable[int]] | None = None

    @classmethod
    async def open(
        cls,
        place: Place,
        ledger: Ledger,
        *,
        cache: Path,
        cache_bytes: int = CACHE_BYTES,
        list_every_s: float = REWRITTEN_EVERY_S,
    ) -> S3Documents:
        """Open the storage at `place`, made if there is none; the bucket must be there.

        `cache`: a folder for arrays that were downloaded, `cache_bytes` of them at most.
        Raises StorageUnavailableError.
        """
        slow = await asyncio.to_thread(SlowObjects, place)
        identity = await asyncio.to_thread(open_place, slow)
        there = await asyncio.to_thread(ArrayCache, cache, cache_bytes)
        return cls(Objects(place), slow, ledger, there, identity, list_every_s)

    async def run(self, observe: Callable[..., Awaitable[int]]) -> None:
        """Finish what replicas that died have begun, until cancelled.

        `observe`: makes the index agree with documents, and rings.
        """
        self._observe = observe
        await self._finisher.run(observe)

    async def close(self) -> None:
        """List what is not listed yet, and let go of the threads. The ledger stays open."""
        await self._lists.drain()
        await asyncio.gather(*self._merging)
        await self._threads.close()
        self._objects.close()

    def _turn(self, document_id: str) -> asyncio.Lock:
        """The lock of this process's writers of a document: they wait rather than fail."""
        return self._turns[crc32(document_id.encode()) % _STRIPES]

    # Documents

    async def create_run(self, run: RunDocument, results: Sequence[ResultDocument]) -> None:
        """Write `results`, then `run`. Raises AlreadyExistsError when an id is taken."""
        run = with_results(run, results)
        key, body = Key("run", run.id), encode_run(run)
        if results and await self._objects.etag(document_path(*key)) is not None:
            raise AlreadyExistsError(*key)
        await self.check_lately()
        write = new_write(key, run.id)
        await self._writing.begin(write)
        written: list[Write] = []
        try:
            await self._creator.results(results, written)
            await self._writing.create(write, body)
        except (StorageUnavailableError, asyncio.CancelledError):
            # Nobody knows whether the run is there, which lists them.
            raise
        except BaseException:
            await self._creator.take_back(written)
            await self._writing.forget(write)
            raise
        self._has_seen(run.id)

    async def update_run(
        self, run_id: str, change: Callable[[RunDocument], RunDocument]
    ) -> RunDocument:
        """Replace a run by `change` of itself, alone. Raises NotFoundError, and what it does.

        When the change ends the run, its results that have grown are put together.
        """
        old, new = await self._change(check_id(run_id, "run_id"), change)
        if new.finished_at is not None and new.finished_at != old.finished_at:
            merging = asyncio.create_task(self._merge(new))
            self._merging.add(merging)
            merging.add_done_callback(self._merging.discard)
        return new

    async def _change(
        self, run_id: str, change: Callable[[RunDocument], RunDocument]
    ) -> tuple[RunDocument, RunDocument]:
        """Replace a run; its list gets the results that it lacks on that occasion."""
        key = Key("run", run_id)
        async with self._turn(run_id):
            while True:
                found = await self._find(key)
                old = decode_run(found.body, run_id, found.modified)
                new = change(old)
                if new.id != run_id:
                    raise InvalidFieldError("id", "a run keeps its id", f"leave it {run_id}")
                pending = self._lists.pending(run_id)
                unlisted = await self._ledger.unlisted(0, run_id)
                missing = dict.fromkeys((*(one.key.id for one in unlisted), *pending))
                if missing.keys() - set(new.results):
                    new = replace(new, results=tuple(dict.fromkeys((*new.results, *missing))))
                if new != old:
                    if new.updated_at == old.updated_at:
                        latest = old.updated_at + timedelta(microseconds=1)
                        new = replace(new, updated_at=max(datetime.now(UTC), latest))
                    write = new_write(key, run_id)
                    await self._writing.begin(write)
                    try:
                        await self._writing.replace(write, encode_run(new), found.etag)
                    except ConflictError:
                        await self._writing.forget(write)
                        continue
                self._lists.named(run_id, pending)
                await self._ledger.end([one.token for one in unlisted])
                return old, new

    async def _rewrite_list(self, run_id: str) -> bool:
        """Name in a run's document the results it lacks; say whether there were any."""
        pending = self._lists.pending(run_id)
        if not pending and not await self._ledger.unlisted(0, run_id):
            return False
        try:
            old, new = await self._change(run_id, lambda run: run)
        except (NotFoundError, DocumentError):
            # There is no list; results without a run are found by fsck.
            self._lists.named(run_id, pending)
            await self._ledger.end([one.token for one in await self._ledger.unlisted(0, run_id)])
            return False
        if new != old and self._observe is not None:
            await self._observe(Key("run", run_id))
        return True

    async def _merge(self, run: RunDocument) -> None:
        """Put together what has grown in chunks; they are read as well as a whole, meanwhile."""
        turns = asyncio.Semaphore(_MERGERS)

        async def merge(result_id: str) -> None:
            key = Key("result", result_id)
            async with turns:
                try:
                    found = await self.read(key)
                    if found is not None and b'"chunks"' in found.body:
                        await self._grow(result_id, found, self._appender.merge, result_id)
                        if self._observe is not None:
                            await self._observe(key)
                except AsgardError as error:
                    log.warning("chunks stay apart", result=result_id, problem=str(error))

        await asyncio.gather(*map(merge, run.results))

    async def add_result(self, result: ResultDocument) -> Sequence[Key]:
        """Write a result; it is listed within a second. Answer what is to be observed.

        Raises NotFoundError (the run), AlreadyExistsError.
        """
        check_id(result.id, "result_id")
        if not self._is_seen(check_id(result.run_id, "run_id")):
            await self._find(Key("run", result.run_id))
            self._has_seen(result.run_id)
        write = await self._creator.result(result, lists=True)
        self._lists.add(result.run_id, result.id)
        return (write.key,)

    async def append(self, result_id: str, data: dict[str, Any], at: int | None) -> ResultDocument:
        """Grow a result. Raises NotFoundError, LengthMismatchError, CannotAppendError."""
        found = await self._found(Key("result", check_id(result_id, "result_id")))
        return await self._grow(result_id, found, self._appender.append, result_id, data, at)

    async def rows_places(
        self, found: Found, result_id: str, upload_id: str, rows: Rows
    ) -> list[str] | None:
        """Chunks of the upload's own, where rows can become chunks as they are."""
        result = await self._threads.run(decode_result, found.body, result_id, found.modified_at)
        places = []
        for field, ref in rows:
            chunk = own_chunk(result, field, ref, upload_id)
            if chunk is None:
                return None
            places.append(chunk)
        return places

    async def _grow(
        self, result_id: str, found: Found, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Let the library change a result, under a write of its own."""
        run_id = (await self._threads.run(decode_result, found.body, result_id)).run_id
        write = new_write(Key("result", result_id), run_id)
        async with self._turn(result_id):
            await self._writing.begin(write)
            with self._writing.alive(write):
                try:
                    grown = await self._threads.run(work, *args, **kwargs)
                except StorageUnavailableError:
                    raise
                except Exception:
                    await self._writing.forget(write)
                    raise
        self._writing.note(write)
        return grown

    async def delete(self, key: Key, also: Collection[str] = ()) -> None:
        """Delete a run with its results, or a result, with arrays. Raises NotFoundError.

        `also` names results known to be the run's, beyond its list.
        """
        check_id(key.id, f"{key.kind}_id")
        if key.kind == "run":
            self._seen.pop(key.id, None)
            known = {*also, *self._lists.pending(key.id)}
            async with self._turn(key.id):
                try:
                    await self._deleter.delete_run(key.id, known)
                except NotFoundError:
                    # Who deleted it may not have come to say so.
                    await self._gone([*(Key("result", one) for one in known), key])
                    raise
            self._lists.named(key.id, list(known))
            return
        async with self._turn(key.id):
            run_id = await self._deleter.delete_result(key.id)
        self._lists.named(run_id, [key.id])

        def unlisting(run: RunDocument) -> RunDocument:
            return replace(run, results=tuple(one for one in run.results if one != key.id))

        try:
            await self._change(run_id, unlisting)
        except NotFoundError:
            return

    async def _gone(self, keys: Sequence[Key]) -> None:
        if self._observe is not None:
            await self._observe(*keys)

    async def open_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays, large ones memory-mapped. Raises NotFoundError."""
        return await self._read_with(result_id, self._arrays.opened)

    async def look_at(self, result_id: str) -> ResultDocument:
        """Read a result to draw it: of large arrays what is looked at is read only then."""
        return await self._read_with(result_id, self._arrays.looked_at)

    async def _read_with(
        self, result_id: str, read: Callable[[Found, str], ResultDocument]
    ) -> ResultDocument:
        seen: str | None = None
        while True:
            found = await self._found(Key("result", check_id(result_id, "result_id")))
            try:
                return await self._threads.run(read, found, result_id)
            except FileNotFoundError as error:
                # An append or a merge may have put the field elsewhere; a document that still
                # names the missing object says that it is lost.
                if found.stamp == seen:
                    raise DocumentError(
                        result_id, f"its array file {error.filename} is missing"
                    ) from error
                seen = found.stamp

    def _has_seen(self, run_id: str) -> None:
        if len(self._seen) >= _SEEN_RUNS:
            self._seen.clear()
        self._seen[run_id] = time.monotonic() + _SEEN_FOR_S

    def _is_seen(self, run_id: str) -> bool:
        return self._seen.get(run_id, 0.0) > time.monotonic()
