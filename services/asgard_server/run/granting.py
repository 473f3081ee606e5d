"""Results whose large arrays their client puts into the store itself (docs/protocols.md 12).

Intent, bytes, document, in this order: whatever dies in between, the intent names what there is
to remove, and a document names only what has been looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from gimle.asgard.core.arrays import ArrayRef, dtype_named
from gimle.asgard.core.documents import decode_result
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    DeletedError,
    DigestMismatchError,
    InvalidFieldError,
    LengthMismatchError,
    NotFoundError,
    StorageUnavailableError,
    UploadEndedError,
)
from gimle.asgard.core.folder.layout import array_name
from gimle.asgard.core.folder.npy import header
from gimle.asgard.core.growth import grows_on_second_axis, references

from asgard_server.run.grants import (
    Grant,
    Granted,
    Grants,
    Held,
    Intent,
    Intents,
    Upload,
)
from asgard_server.run.store import Documents, Key, RunIndex

# How long a grant holds.
SECONDS = 3_600
# A request that began in time may end later, and clocks differ.
MARGIN = timedelta(minutes=15)
SWEPT_EVERY_S = 60.0
# So often an intent is written anew because somebody else was faster.
_TRIES = 10
# Files are looked at side by side.
_AT_ONCE = 16

log = structlog.get_logger("asgard.run")


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


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client says of a file it has uploaded: its digests, in hexadecimal."""

    sha256: str
    sha256_parts: str | None


class Granting:
    """Begins uploads of arrays, looks what has come, and removes what nobody asked to keep."""

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

    # Beginning

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
        for _ in range(_TRIES):
            there = await self._intents.find(new.result_id)
            if there is None:
                # Arrays of a result have names that begin with its id: these would be taken for it.
                if await self._stored(new.result_id):
                    raise AlreadyExistsError("result", new.result_id)
                rows = [(array.field, _file(new, array, "").ref) for array in new.arrays]
                paths = await self._documents.rows_places(found, grows, new.result_id, rows)
                if paths is None:
                    return Begun(None)
                files = [_file(new, *one) for one in zip(new.arrays, paths, strict=True)]
                intent = Intent(
                    new.result_id, result.run_id, tuple(files), self._until(), grows=grows
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
        raise self._busy(new.result_id)

    async def _begin(self, run_id: str, new: NewUpload) -> Begun:
        key = Key("result", new.result_id)
        deleted_at = await self._index.tombstone(key)
        if deleted_at is not None:
            raise DeletedError(key.id, deleted_at)
        for _ in range(_TRIES):
            found = await self._intents.find(key.id)
            if found is None:
                if await self._stored(key.id):
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
        raise self._busy(key.id)

    def _intent(self, run_id: str, new: NewUpload, taken: Sequence[str]) -> Intent:
        names = list(taken)
        files = []
        for array in new.arrays:
            names.append(array_name(new.result_id, array.field, names))
            files.append(_file(new, array, f"files/{names[-1]}"))
        return Intent(new.result_id, run_id, tuple(files), self._until())

    def _again(self, intent: Intent, run_id: str, new: NewUpload) -> Intent:
        """The intent of what is asked again. Raises `AlreadyExistsError` for something else."""
        if intent.swept:
            raise self._busy(new.result_id)
        known = {file.key: file for file in intent.files}
        wanted = {array.key: array for array in new.arrays}
        if (intent.run_id, intent.grows) != (run_id, new.grows) or known.keys() != wanted.keys():
            raise AlreadyExistsError("result", new.result_id)
        for key, file in known.items():
            if file != _file(new, wanted[key], file.ref.path):
                raise AlreadyExistsError("result", new.result_id)
        return replace(intent, until=self._until())

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
        for _ in range(_TRIES):
            intent, stamp = await self._live(result_id)
            file = next((file for file in intent.files if file.key == key), None)
            if file is None:
                raise NotFoundError("result", result_id)
            # Not each time: a grant holds for long, and an upload asks for many.
            if intent.until - self._clock() < timedelta(seconds=SECONDS / 2):
                intent = replace(intent, until=self._until())
                if await self._intents.replace(intent, stamp) is None:
                    continue
            left = int((intent.until - self._clock()).total_seconds())
            return await self._grants.parts(file.wanted, parts, max(1, min(SECONDS, left)))
        raise self._busy(result_id)

    # Ending

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
                await self._remove_unnamed(found[0])

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
        for _ in range(_TRIES):
            intent, stamp = await self._live(result_id)
            if intent.grows != grows:
                raise InvalidFieldError(
                    f"{at}result_id", "is not what it was granted for", "ask CreateResultUploads"
                )
            if grows is None and intent.run_id != run_id:
                raise InvalidFieldError(
                    f"{at}run_id", f"is not {intent.run_id}", "give the run it was begun for"
                )
            kept = replace(intent, until=self._until())
            if await self._intents.replace(kept, stamp) is not None:
                return kept
        raise self._busy(result_id)

    async def _live(self, result_id: str) -> tuple[Intent, str]:
        found = await self._intents.find(result_id)
        if found is None or found[0].swept:
            raise UploadEndedError(result_id, "given up")
        return found

    async def _check_head(self, file: Granted, turns: asyncio.Semaphore) -> None:
        ref = file.ref
        head = header(dtype_named(ref.dtype), ref.stored_shape)
        async with turns:
            if not await self._intents.holds(ref.path, head):
                raise DigestMismatchError(
                    ref.path, f"the file is not a .npy of {ref.dtype} {list(ref.stored_shape)}"
                )

    async def downloads(self, paths: Sequence[str]) -> list[tuple[Grant, Held] | None]:
        """Grant downloads of files of arrays. Raises `GrantsUnavailableError`."""
        return await self._grants.downloads(paths, SECONDS)

    # Sweeping

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
            await self._remove_unnamed(intent)
            await self._intents.remove(result_id)
            ended += 1
        return ended

    async def _remove_unnamed(self, intent: Intent) -> None:
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
        if paths and intent.grows is not None and await self._stored(intent.result_id):
            return  # one that has come since under the append's own id may name them, too
        if paths:
            await self._grants.remove(paths)

    async def _stored(self, result_id: str) -> bool:
        return await self._documents.read(Key("result", result_id)) is not None

    def _until(self) -> datetime:
        return self._clock() + timedelta(seconds=SECONDS)

    def _busy(self, result_id: str) -> StorageUnavailableError:
        return StorageUnavailableError(
            result_id, "its uploads are being changed by others; try again"
        )


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


def _check_digests(file: Granted, held: Held, sent: Sent) -> None:
    if file.sha256 != sent.sha256:
        raise DigestMismatchError(file.ref.path, f"its SHA-256 was declared as {file.sha256}")
    told = [(held.sha256, sent.sha256), (held.sha256_parts, sent.sha256_parts)]
    if any(None not in pair and pair[0] != pair[1] for pair in told):
        raise DigestMismatchError(file.ref.path, "other bytes lie there than were declared")
