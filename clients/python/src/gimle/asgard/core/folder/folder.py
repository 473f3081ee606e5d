"""A storage folder, and every order of events that keeps it true."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_run, same_run
from gimle.asgard.core.errors import DocumentError, InvalidFieldError, NotFoundError
from gimle.asgard.core.folder import files
from gimle.asgard.core.folder.append import Appender
from gimle.asgard.core.folder.creating import CreatedRun, Creator
from gimle.asgard.core.folder.deleting import Deleter
from gimle.asgard.core.folder.fsck import Report, examine
from gimle.asgard.core.folder.intents import Intents, Markers
from gimle.asgard.core.folder.layout import Layout
from gimle.asgard.core.folder.locks import Locks
from gimle.asgard.core.folder.place import open_place
from gimle.asgard.core.folder.reading import Reading, place_of
from gimle.asgard.core.folder.refusals import naming_the_place
from gimle.asgard.core.folder.reserve import Reserve
from gimle.asgard.core.ids import check_id

Durability = Literal["durable", "relaxed"]


def _now() -> datetime:
    return datetime.now(UTC)


class Folder(Reading):
    """A folder of runs, results and arrays that any number of processes write at once.

    A reader sees a whole document or none. With durability "durable" (the default) a
    write is on the disk when the method returns; with "relaxed" it is in the hands of the
    operating system, which a crash of the process does not harm but a power failure may.

    Thread-safe. Safe to use on both sides of a fork. Opening makes what is missing (the
    folder itself only if `create`) and finishes what dead writers left. Methods raise
    StorageUnavailableError when the place is gone or refuses, StorageReadOnlyError when it
    may not be written, StorageFullError when it has no room; nothing is half-written then.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "durable",
        create: bool = True,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        if durability not in ("durable", "relaxed"):
            raise InvalidFieldError(
                "durability", f"{durability!r} is not known", 'use "durable" or "relaxed"'
            )
        self.path = place_of(path)
        self.durability: Durability = durability
        self._durable = durability == "durable"
        self._clock = clock
        self._layout = Layout(self.path)
        self._locks = Locks(self._layout)
        self._intents = Intents(self._layout, self._locks)
        self._reserve = Reserve(self._layout)
        self._markers = Markers(self._layout, self._reserve, durable=self._durable)
        self._deleter = Deleter(self._layout, self._markers, durable=self._durable)
        self._creator = Creator(
            self._layout, self._locks, self._intents, self._markers, self._deleter, self._durable
        )
        self._appender = Appender(self._layout, self._intents, self._durable)
        #: The id that tells this folder from any other; None where it is read-only without one.
        self.storage_id = open_place(
            self._layout, create=create, durable=self._durable, now=clock()
        )
        self.sweep()

    def __repr__(self) -> str:
        return f"Folder({self.path!r}, durability={self.durability!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same folder in the process that this is sent to."""
        return partial(Folder, durability=self.durability, create=False), (self.path,)

    def close(self) -> None:
        """Close the lock files. They open again when needed."""
        self._locks.close()

    def create_run(
        self, run: RunDocument, results: Sequence[ResultDocument] = ()
    ) -> tuple[RunDocument, list[ResultDocument]]:
        """Write `results`, then `run`, which lists them; answer both as they are stored.

        Either all of it appears or nothing. Raises AlreadyExistsError when an id is taken,
        TypeError for values that cannot be stored.
        """
        (answer,) = self.create_runs([(run, results)])
        if isinstance(answer, Exception):
            raise answer
        return answer.run, answer.results

    def create_runs(
        self, batch: Sequence[tuple[RunDocument, Sequence[ResultDocument]]]
    ) -> list[CreatedRun | Exception]:
        """Create runs as `create_run` does, and bring them to the disk together.

        Answers for each how it lies there, or what `create_run` would raise: what is wrong
        with one of them does not concern the others.
        """
        return self._creator.runs(batch)

    @naming_the_place
    def update_run(self, run_id: str, change: Callable[[RunDocument], RunDocument]) -> RunDocument:
        """Replace a run by `change` of itself, alone; answer what is stored.

        `updated_at` becomes now unless `change` sets it; a change of nothing writes nothing.
        Raises NotFoundError, DocumentError, and what `change` raises.
        """
        check_id(run_id, "run_id")
        with self._locks.run(run_id):
            old = self.read_run(run_id)
            new = change(old)
            if same_run(new, old):
                return old
            if new.id != run_id:
                raise InvalidFieldError("id", "a run keeps its id", f"leave it {run_id}")
            if new.updated_at == old.updated_at:
                new = replace(new, updated_at=max(self._clock(), old.updated_at))
            self._replace_run(new)
            return new

    def _replace_run(self, run: RunDocument) -> None:
        files.replace(self._layout.runs, f"{run.id}.json", encode_run(run), durable=self._durable)

    @naming_the_place
    def add_result(self, result: ResultDocument) -> ResultDocument:
        """Write a result and list it in its run; answer it as stored (arrays are references).

        Arrays, then the result's document, then the run's list. Raises NotFoundError (the
        run), AlreadyExistsError, TypeError for values that cannot be stored.
        """
        run_id = check_id(result.run_id, "run_id")
        check_id(result.id, "result_id")
        if not os.path.lexists(self._layout.document("run", run_id)):
            raise NotFoundError("run", run_id)
        stored = self._creator.write_result(result)
        try:
            with self._locks.run(run_id):
                run = self.read_run(run_id)
                if result.id not in run.results:
                    now = max(self._clock(), run.updated_at)
                    self._replace_run(
                        replace(run, results=(*run.results, result.id), updated_at=now)
                    )
        except NotFoundError:
            # The run was deleted meanwhile, and did not know of this result.
            self._deleter.remove_result(stored)
            raise
        except OSError:
            # No room for the list, for one: what is not acknowledged is not half there.
            if result.id not in self.read_run(run_id).results:
                self._deleter.remove_result(stored)
            raise
        return stored

    @naming_the_place
    def append(
        self, result_id: str, data: Mapping[str, Any], at: int | None = None
    ) -> ResultDocument:
        """Grow fields of a result by the same number of rows; answer its new document.

        `at` is the number of rows the caller believes are committed: rows that are already
        there are recognised and change nothing. Raises NotFoundError, LengthMismatchError,
        CannotAppendError, which says what does not fit.
        """
        run_id = self.read_result_document(result_id).run_id
        with self._locks.run(run_id):
            return self._appender.append(self.read_result_document(result_id), data, at)

    @naming_the_place
    def delete_run(self, run_id: str, also: Collection[str] = ()) -> None:
        """Delete a run, its results and their arrays. Raises NotFoundError.

        `also` names results that the caller knows to be the run's, beyond its list.
        """
        check_id(run_id, "run_id")
        self._reserve.spend(self._delete_run, run_id, also)

    def _delete_run(self, run_id: str, also: Collection[str]) -> None:
        with self._locks.run(run_id):
            if self._deleter.finish(run_id):
                return
            try:
                listed: Sequence[str] = self.read_run(run_id).results
            except DocumentError:
                listed = ()
            self._deleter.delete_run(run_id, dict.fromkeys((*listed, *also)))

    @naming_the_place
    def delete_result(self, result_id: str) -> None:
        """Delete a result and its arrays, and take it off its run's list. Raises NotFoundError."""
        self._reserve.spend(self._delete_result, result_id)

    def _delete_result(self, result_id: str) -> None:
        run_id = self.read_result_document(result_id).run_id
        with self._locks.run(run_id):
            self._deleter.delete_result(self.read_result_document(result_id))

    @naming_the_place
    def sweep(self) -> None:
        """Undo what dead writers began, and finish the deletes they left. Harms no living one."""
        if self.storage_id is None:
            return
        try:
            for result_id in self._intents.names():
                self._intents.sweep(result_id)
            for id in self._markers.names():
                marker = self._markers.read(id)
                if marker is not None:
                    with self._locks.run_if_free(marker[1]) as free:
                        if free:
                            self._reserve.spend(self._deleter.finish, id)
            self._reserve.keep()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            # A folder for reading only: whoever may write it sweeps it.
            return

    def keep_room(self) -> None:
        """Keep room back for deleting on a full disk, if there is some again. Never raises.

        Opening and deleting do so too: this is for whoever serves a folder for days.
        """
        if self.storage_id is not None:
            self._reserve.keep()

    @naming_the_place
    def fsck(self, repair: bool = False) -> Report:
        """Examine every document and file; report, and with `repair` mend, what is not whole.

        Repairing lists results that their run does not list, and removes what nothing
        refers to and nobody has touched for 24 hours (by ctime).
        """
        if repair:
            self.sweep()
        return examine(self, self._layout, self._intents, self._markers, self._locks, repair)
