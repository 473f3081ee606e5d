"""Large arrays of results that their client puts into the store itself (docs/protocols.md 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gimle.asgard.core.arrays import ArrayRef, dtype_named
from gimle.asgard.core.documents import decode_result
from gimle.asgard.core.errors import AlreadyExistsError, DeletedError, NotFoundError
from gimle.asgard.core.folder.layout import array_name
from gimle.asgard.core.folder.npy import header
from gimle.asgard.core.growth import grows_on_second_axis

from asgard_server.run.grants import Grant, Granted, Grants, Held, Intent, Intents, Upload
from asgard_server.run.intents import SECONDS, TRIES, busy, is_stored, live, until
from asgard_server.run.store import Documents, Key, RunIndex


@dataclass(frozen=True, slots=True)
class Array:
    """An array that is to be uploaded, as its reference will say. `field` leads to it."""

    key: str
    field: tuple[str, ...]
    dtype: Any
    shape: tuple[int, ...]
    sha256: str | None


@dataclass(frozen=True, slots=True)
class NewUpload:
    """A result that is to come, and its arrays that are to be uploaded.

    Or, with `grows`, rows for the result of that id: `result_id` is the append's own then.
    """

    result_id: str
    result_type: str
    arrays: tuple[Array, ...]
    grows: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The uploads of a result's arrays, by key. None: it is stored, nobody knows how."""

    uploads: Mapping[str, Upload] | None


class Granting:
    """Begins uploads of arrays, and grants what they and downloads of arrays need."""

    def __init__(
        self,
        grants: Grants,
        intents: Intents,
        documents: Documents,
        index: RunIndex,
        clock: Callable[[], datetime],
    ) -> None:
        self._grants = grants
        self._intents = intents
        self._documents = documents
        self._index = index
        self._clock = clock

    async def begin(
        self, run_id: str, asked: Sequence[NewUpload], *, run_follows: bool
    ) -> list[Begun]:
        """Grant the uploads of results' arrays; what has begun goes on.

        `run_id` is of results that are to come. Raises `NotFoundError` (the run, or the result that
        grows), `AlreadyExistsError`, `DeletedError`, `GrantsUnavailableError`.
        """
        come = any(new.grows is None for new in asked)
        if come and not run_follows and await self._documents.read(Key("run", run_id)) is None:
            raise NotFoundError("run", run_id)
        # One after the other: a call seldom has several, and its files go side by side.
        return [
            await (
                self._begin(run_id, new) if new.grows is None else self._begin_rows(new, new.grows)
            )
            for new in asked
        ]

    async def _begin_rows(self, new: NewUpload, grows: str) -> Begun:
        """Grant the uploads of rows; what has begun goes on."""
        found = await self._documents.read(Key("result", grows))
        if found is None:
            raise NotFoundError("result", grows)
        result = await asyncio.to_thread(decode_result, found.body, grows, found.modified_at)
        new = replace(new, result_type=result.result_type)
        for _ in range(TRIES):
            there = await self._intents.find(new.result_id)
            if there is None:
                # Arrays of a result have names that begin with its id: these would be taken for it.
                if await is_stored(self._documents, new.result_id):
                    raise AlreadyExistsError("result", new.result_id)
                rows = [(array.field, _file(new, array, "").ref) for array in new.arrays]
                paths = await self._documents.rows_places(found, grows, new.result_id, rows)
                if paths is None:
                    return Begun(None)
                files = [_file(new, *one) for one in zip(new.arrays, paths, strict=True)]
                intent = Intent(
                    new.result_id, result.run_id, tuple(files), until(self._clock), grows=grows
                )
                stamp = await self._intents.create(intent)
            else:
                intent = self._again(there[0], result.run_id, new)
                stamp = await self._intents.replace(intent, there[1])
            if stamp is not None:
                wanted = [file.wanted for file in intent.files]
                uploads = await self._grants.uploads(wanted, SECONDS)
                return Begun(
                    {file.key: one for file, one in zip(intent.files, uploads, strict=True)}
                )
        raise busy(new.result_id)

    async def _begin(self, run_id: str, new: NewUpload) -> Begun:
        key = Key("result", new.result_id)
        deleted_at = await self._index.tombstone(key)
        if deleted_at is not None:
            raise DeletedError(key.id, deleted_at)
        for _ in range(TRIES):
            found = await self._intents.find(key.id)
            if found is None:
                if await is_stored(self._documents, key.id):
                    return Begun(None)
                intent = self._intent(run_id, new, ())
                stamp = await self._intents.create(intent)
            else:
                before, stamp = found
                intent = self._again(before, run_id, new)
                stamp = await self._intents.replace(intent, stamp)
            if stamp is not None:
                granted = await self._granted(intent, new, stamp, fresh=found is None)
                if granted is not None:
                    return granted
        raise busy(key.id)

    def _intent(self, run_id: str, new: NewUpload, taken: Sequence[str]) -> Intent:
        names = list(taken)
        files = []
        for array in new.arrays:
            names.append(array_name(new.result_id, array.field, names))
            files.append(_file(new, array, f"files/{names[-1]}"))
        return Intent(new.result_id, run_id, tuple(files), until(self._clock))

    def _again(self, intent: Intent, run_id: str, new: NewUpload) -> Intent:
        """The intent of what is asked again. Raises `AlreadyExistsError` for something else."""
        if intent.swept:
            raise busy(new.result_id)
        known = {file.key: file for file in intent.files}
        wanted = {array.key: array for array in new.arrays}
        if (intent.run_id, intent.grows) != (run_id, new.grows) or known.keys() != wanted.keys():
            raise AlreadyExistsError("result", new.result_id)
        for key, file in known.items():
            if file != _file(new, wanted[key], file.ref.path):
                raise AlreadyExistsError("result", new.result_id)
        return replace(intent, until=until(self._clock))

    async def _granted(
        self, intent: Intent, new: NewUpload, stamp: str, *, fresh: bool
    ) -> Begun | None:
        """The grants of an intent that is written; None where it has to be written anew."""
        wanted = [file.wanted for file in intent.files]
        uploads = await self._grants.uploads(wanted, SECONDS)
        # What lies there before anything was granted, nobody's intent names: it is left alone.
        taken = [
            file.ref.path.removeprefix("files/")
            for file, upload in zip(intent.files, uploads, strict=True)
            if fresh and upload.held is not None and not _declared(file, upload.held)
        ]
        if taken:
            other = self._intent(intent.run_id, new, taken)
            if await self._intents.replace(other, stamp) is None:
                return None
            uploads = await self._grants.uploads([file.wanted for file in other.files], SECONDS)
            intent = other
        by_key = zip((file.key for file in intent.files), uploads, strict=True)
        return Begun(dict(by_key))

    async def run_of(self, result_id: str) -> str:
        """The run that an upload of a result's arrays, or of rows for one, is for; else empty."""
        found = await self._intents.find(result_id)
        return "" if found is None else found[0].run_id

    async def parts(
        self, result_id: str, key: str, parts: Sequence[tuple[int, str]]
    ) -> list[Grant]:
        """Grant parts of an array. Raises `NotFoundError`, `UploadEndedError`."""
        for _ in range(TRIES):
            intent, stamp = await live(self._intents, result_id)
            file = next((file for file in intent.files if file.key == key), None)
            if file is None:
                raise NotFoundError("result", result_id)
            # Not each time: a grant holds for long, and an upload asks for many.
            if intent.until - self._clock() < timedelta(seconds=SECONDS / 2):
                intent = replace(intent, until=until(self._clock))
                if await self._intents.replace(intent, stamp) is None:
                    continue
            left = int((intent.until - self._clock()).total_seconds())
            return await self._grants.parts(file.wanted, parts, max(1, min(SECONDS, left)))
        raise busy(result_id)

    async def downloads(self, paths: Sequence[str]) -> list[tuple[Grant, Held] | None]:
        """Grant downloads of files of arrays. Raises `GrantsUnavailableError`."""
        return await self._grants.downloads(paths, SECONDS)


def _file(new: NewUpload, array: Array, path: str) -> Granted:
    transposed = len(array.shape) > 1 and grows_on_second_axis(new.result_type, array.field)
    ref = ArrayRef(path, array.dtype, array.shape, transposed)
    size = len(header(dtype_named(ref.dtype), ref.stored_shape)) + ref.nbytes
    return Granted(array.key, array.field, ref, size, array.sha256)


def _declared(file: Granted, held: Held) -> bool:
    """Whether what lies there is what was declared; of large files that cannot be told yet."""
    return (
        held.size_bytes == file.size_bytes
        and file.sha256 is not None
        and held.sha256 == file.sha256
    )
