"""Deleting from an object store: the mark in the ledger, then documents, then arrays.

Once a deletion is marked nobody begins another write of what goes with it, and those that were
begun before are waited for, or taken for dead. Whoever dies in between, another replica goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

from gimle.asgard.core.documents import decode_result, decode_run
from gimle.asgard.core.errors import DocumentError, NotFoundError
from gimle.asgard.core.folder.layout import owned
from gimle.asgard.core.s3.deleting import Deleter as SlowDeleter
from gimle.asgard.core.s3.deleting import array_names
from gimle.asgard.core.s3.objects import ConflictError
from gimle.asgard.core.s3.reading import document_path

from asgard_server.run.ledger import Deletion, Ledger, Write
from asgard_server.run.store import Key
from asgard_server.store.s3_objects import Object, Objects
from asgard_server.store.written import Written

# A write that nobody has begun again for so long is a dead replica's.
DEAD_AFTER_S = 10.0
_LOOK_EVERY_S = 0.05
_AT_ONCE = 16


class Deleter:
    """Deletes documents of one place, and finishes what others have begun to delete.

    `library` finishes deletes of those who use the place without a service; they leave their
    marks beside the documents. `gone` is told what was removed, before the mark goes: whoever
    dies, or loses the database, in between leaves a mark by which others tell the index.
    """

    def __init__(
        self,
        objects: Objects,
        ledger: Ledger,
        library: SlowDeleter,
        written: Written,
        gone: Callable[[Sequence[Key]], Awaitable[None]],
    ) -> None:
        self._objects = objects
        self._ledger = ledger
        self._written = written
        self._library = library
        self._gone = gone

    async def delete_run(self, run_id: str, also: Collection[str]) -> None:
        """Delete a run, its results and their arrays. Raises NotFoundError."""
        key = Key("run", run_id)
        found = await self._find(key)
        unlisted = [write.key.id for write in await self._ledger.unlisted(0, run_id)]
        results = dict.fromkeys((*_listed(found, run_id), *also, *unlisted))
        await self._ledger.mark(Deletion(key, run_id, tuple(results)))
        # A write that was begun before is here; one that is begun later finds the mark.
        others = await self._others(run_id, None)
        results |= dict.fromkeys(key.id for key in others if key.kind == "result")
        unlisted = [write.key.id for write in await self._ledger.unlisted(0, run_id)]
        results |= dict.fromkeys(unlisted)
        await self.finish(await self._emptied(key, found, results))

    async def delete_result(self, result_id: str) -> str:
        """Delete a result and its arrays; answer whose it was. Raises NotFoundError.

        The caller takes it off its run's list.
        """
        key = Key("result", result_id)
        found = await self._find(key)
        result = decode_result(found.body, result_id, found.modified)
        deletion = Deletion(key, result.run_id, (result_id,), tuple(array_names(result)))
        await self._ledger.mark(deletion)
        await self._others(result.run_id, key)
        await self._ledger.end(
            [
                write.token
                for write in await self._ledger.unlisted(0, result.run_id)
                if write.key == key
            ]
        )
        await self._empty(key, found)
        await self.finish(deletion)
        return result.run_id

    async def finish_begun(self, key: Key) -> None:
        """Finish the deletion of a document, if one has begun."""
        marked = await self._ledger.marked(0, key)
        for deletion in marked:
            await self.finish(deletion)
        if not marked:
            await asyncio.to_thread(self._library.finish, key.id)

    async def finish(self, deletion: Deletion) -> None:
        """Remove all that a deletion names, and what its results name."""
        key = deletion.key
        strays = {write.key for write in await self._ledger.strays(0, deletion.run_id)}
        if key.kind == "run":
            more = (one.id for one in sorted(strays) if one.kind == "result")
            deletion = deletion._replace(results=tuple(dict.fromkeys((*deletion.results, *more))))
        turns = asyncio.Semaphore(_AT_ONCE)

        async def look(result_id: str) -> list[str] | None:
            async with turns:
                return await self._files_of(result_id, deletion)

        found = await asyncio.gather(*map(look, deletion.results))
        results = [
            one for one, files in zip(deletion.results, found, strict=True) if files is not None
        ]
        files = dict.fromkeys(deletion.files)
        files |= dict.fromkeys(name for some in found if some for name in some)
        if files.keys() != set(deletion.files):
            # The documents that name them go first.
            deletion = deletion._replace(files=tuple(files))
            await self._ledger.mark(deletion)
        never_was = key.kind == "result" and not deletion.results
        keys = [Key("result", one) for one in results]
        if key.kind == "run" or never_was:
            keys.append(key)
        for one in keys:
            if one in strays:
                await self._bar(one)
        # The run first: whoever lists it meanwhile finds no results missing.
        for kind in ("run", "result"):
            gone = [one for one in keys if one.kind == kind and one not in strays]
            await self._objects.delete(document_path(*one) for one in gone)
        await self._objects.delete(f"files/{name}" for name in deletion.files)
        await self._gone([*(Key("result", one) for one in deletion.results), key])
        await self._ledger.unmark(key, free=never_was)

    async def _bar(self, key: Key) -> None:
        """Leave a document without a byte, on which the condition of a late request fails."""
        path = document_path(*key)
        while await self._objects.create(path, b"") is None:
            found = await self._objects.get(path)
            if found is not None:
                await self._empty(key, found)
                return

    async def unbar(self, stray: Write) -> None:
        """Remove what `_bar` has left, when nothing can arrive any more."""
        path = document_path(*stray.key)
        found = await self._objects.get(path)
        if found is not None and not found.body:
            await self._objects.delete([path])
        await self._ledger.end([stray.token])

    async def _files_of(self, result_id: str, deletion: Deletion) -> list[str] | None:
        """The array files of a result, None when it is another run's."""
        found = await self._objects.get(document_path("result", result_id))
        if found is None or not found.body:
            return []
        try:
            result = decode_result(found.body, result_id, found.modified)
        except DocumentError:
            return []
        if result.run_id != deletion.run_id:
            return None
        return [name for name in array_names(result) if owned(result_id, name)]

    async def _find(self, key: Key) -> Object:
        found = await self._objects.get(document_path(*key))
        if found is None or not found.body:
            # Whoever is told that it is gone is told so of all that goes with it.
            await self.finish_begun(key)
            raise NotFoundError(key.kind, key.id)
        return found

    async def _empty(self, key: Key, found: Object | None) -> None:
        """Replace a document by one without a byte, which counts as none.

        Who changes it without a service fails on its etag, and learns that it is gone.
        """
        while found is not None and found.body:
            try:
                await self._objects.replace(document_path(*key), b"", found.etag)
            except ConflictError:
                found = await self._objects.get(document_path(*key))
                continue
            return

    async def _emptied(self, key: Key, found: Object, results: dict[str, None]) -> Deletion:
        """Empty a run's document; answer the deletion, marked with all that its list named then.

        What was unlisted when somebody looked may have been listed since, and is nowhere else.
        """
        while True:
            results |= dict.fromkeys(_listed(found, key.id))
            deletion = Deletion(key, key.id, tuple(results))
            await self._ledger.mark(deletion)
            with suppress(ConflictError):
                await self._objects.replace(document_path(*key), b"", found.etag)
                return deletion
            newer = await self._objects.get(document_path(*key))
            if newer is None or not newer.body:
                return deletion
            found = newer

    async def _others(self, run_id: str, key: Key | None) -> set[Key]:
        """Wait until writes that were begun before have ended; answer what they wrote.

        Those that do not end are given up: their writers are refused, and what they have sent
        may arrive when it likes.
        """
        keys: set[Key] = set()
        end = time.monotonic() + DEAD_AFTER_S
        while True:
            begun = [
                write
                for write in await self._ledger.begun(0, run_id)
                if key is None or write.key == key
            ]
            keys |= {write.key for write in begun}
            done = self._written.tokens(keys)
            begun = [write for write in begun if write.token not in done]
            if not begun:
                return keys
            if time.monotonic() > end:
                await self._ledger.stray(begun)
                await self._ledger.end([write.token for write in begun])
                return keys
            await asyncio.sleep(_LOOK_EVERY_S)


def _listed(found: Object, run_id: str) -> list[str]:
    try:
        return list(decode_run(found.body, run_id).results)
    except DocumentError:
        return []
