"""Writing results that are new into S3: their arrays under names of their own, then documents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from gimle.asgard.core.documents import ResultDocument, decode_result
from gimle.asgard.core.errors import AlreadyExistsError
from gimle.asgard.core.s3.deleting import array_names
from gimle.asgard.core.s3.reading import document_path

from asgard_server.run.ledger import Write
from asgard_server.run.store import Key
from asgard_server.store.s3_arrays import Arrays, renamed
from asgard_server.store.s3_intents import S3Intents
from asgard_server.store.s3_objects import Objects
from asgard_server.store.s3_threads import Threads
from asgard_server.store.s3_writing import Writing, encoded, new_write

_AT_ONCE = 16


class Creator:
    """Writes results that are not there yet, each under a write that stays begun."""

    def __init__(
        self,
        objects: Objects,
        arrays: Arrays,
        intents: S3Intents,
        writing: Writing,
        threads: Threads,
    ) -> None:
        self._objects = objects
        self._arrays = arrays
        self._intents = intents
        self._writing = writing
        self._threads = threads

    async def results(self, results: Sequence[ResultDocument], written: list[Write]) -> None:
        """Write results side by side; fill `written`. Raises what the first that fails does."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def create(result: ResultDocument) -> None:
            async with turns:
                written.append(await self.result(result, lists=False))

        outcomes = await asyncio.gather(*map(create, results), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def take_back(self, written: Sequence[Write]) -> None:
        """Remove results that this process has just written and nobody was told of."""
        await self._objects.delete(document_path(*write.key) for write in written)
        await self._objects.delete(f"files/{name}" for write in written for name in write.files)
        await self._writing.forget(*written)

    async def result(self, result: ResultDocument, *, lists: bool) -> Write:
        """Write a new result's arrays and document; answer the write that stays begun."""
        stored, body, files = await encoded(result)
        write = new_write(
            Key("result", result.id),
            result.run_id,
            files=[file.name for file in files],
            lists=lists,
        )
        await self._writing.begin(write)
        if not files:
            await self._writing.create(write, body, None if result.extra else result)
            return write
        names: dict[str, str] = {}
        try:
            for file in files:
                write, name = await self._write_array(write, file)
                names[f"files/{file.name}"] = f"files/{name}"
            if any(old != new for old, new in names.items()):
                _, body = await self._threads.run(renamed, stored, names)
            await self._writing.still(write)
        except BaseException:
            await self._objects.delete(await self._unnamed(result.id, names.values()))
            await self._writing.forget(write)
            raise
        try:
            await self._writing.create(write, body)
        except AlreadyExistsError:
            await self._objects.delete(await self._unnamed(result.id, names.values()))
            raise
        return write._replace(files=tuple(name.removeprefix("files/") for name in names.values()))

    async def _unnamed(self, result_id: str, paths: Iterable[str]) -> list[str]:
        """Those of the array files that nobody else is about to name, or has named, as his."""
        named: set[str] = set()
        if (intent := await self._intents.find(result_id)) is not None:
            named.update(file.ref.path for file in intent[0].files)
        found = await self._objects.get(document_path("result", result_id))
        if found is not None and found.body:
            document = await self._threads.run(decode_result, found.body, result_id)
            named.update(f"files/{name}" for name in array_names(document))
        return [path for path in paths if path not in named]

    async def _write_array(self, write: Write, file: Any) -> tuple[Write, str]:
        """Write an array under a name that no object has; answer it."""
        name, number = file.name, 1
        while True:
            with self._writing.alive(write):
                if await self._threads.run(self._arrays.write, file, name):
                    return write, name
            # Somebody who died before his document was written has left one.
            number += 1
            name = f"{file.name.removesuffix('.npy')}~{number}.npy"
            write = write._replace(files=(*write.files, name))
            await self._writing.begin(write)
