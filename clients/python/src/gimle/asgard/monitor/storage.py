"""Save runs and their results, and read them back.

    storage = AsgardStorage("./storage")
    run = storage.create_run(name="Exponential ODE", equation="int(f, x) = f")
    storage.add_result(run, result_type="Solution1D", data={"x": x, "computed": y})
    storage.finish_run(run)

Other processes may write into the same place at the same time; a page opened by
`asgard monitor` shows each save a moment after it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from gimle.asgard.core.documents import RunDocument
from gimle.asgard.core.errors import DocumentError, InvalidFieldError, NotFoundError
from gimle.asgard.core.folder import Durability
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.watching import Event
from gimle.asgard.monitor import fields
from gimle.asgard.monitor.documents import moved, new_result, new_run, owned
from gimle.asgard.monitor.fields import UNCHANGED, Unchanged
from gimle.asgard.monitor.home import Home, Reach, Where, open_home, watch_home
from gimle.asgard.monitor.reading import read_all
from gimle.asgard.monitor.result import Result
from gimle.asgard.monitor.run import Run

if TYPE_CHECKING:  # loads gRPC: only for those who use it
    from gimle.asgard.client.replaying import Pending
    from gimle.asgard.client.transfers import Progress

__all__ = ["AsgardStorage", "Result", "Run"]

_log = logging.getLogger("gimle.asgard")


class AsgardStorage:
    """A place of runs and results: a folder, "s3://bucket/prefix" or "grpc://host:port".

    A folder is made when it is missing, a bucket is not.

    spool: a folder of this machine for what cannot be sent while a service is away; it is
    sent later, by this process or by the next one that is given the same folder.
    durability: of a folder. "durable" (the default): a save is on the disk when it returns;
    "relaxed": it is with the operating system, faster, and lost only if the machine goes down.
    timeout, patience, progress: of a service. How many seconds each attempt of a call may take
    (with large arrays longer, by their size); for how many seconds one that fails in passing
    is repeated (15, with a spool 2); what is told of each step of an array above 1 MiB
    that is sent or read (a Transfer), in a thread of its own.

    Thread-safe, and safe to use on both sides of a fork. Ids and names that are no file
    names raise InvalidNameError (a ValueError) before the disk is touched; a missing run or
    result NotFoundError (a FileNotFoundError); the rest is listed in core/errors.py.
    """

    def __init__(
        self,
        where: Where,
        *,
        durability: Durability = "durable",
        spool: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        patience: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._where = os.fspath(where)
        reach = Reach(spool, timeout, patience, progress)
        self._home: Home = open_home(where, durability, reach)

    def __repr__(self) -> str:
        return f"AsgardStorage({self._where!r})"

    def create_run(
        self,
        name: str,
        equation: str | None = None,
        circuit: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        tags: Iterable[str] = (),
        note: str | None = None,
        status: str | None = None,
        id: str | None = None,
        created_at: datetime | None = None,
        owner: str | None = None,
        organization_id: str | None = None,
        visibility: Literal["private", "org_public", "public"] | None = None,
    ) -> Run:
        """Create a run.

        status: "running" to say that `finish_run` will follow. id: yours, for a create that
        is safe to repeat (AlreadyExistsError); made when None. created_at: now when None.
        owner, organization_id, visibility: whose it is, and who else reads it, where a service
        asks who calls (docs/access.md): whoever creates a run owns it, and alone reads it.
        """
        run = new_run(name, equation, circuit, metadata, tags, note, status, id, created_at)
        run = owned(run, owner, organization_id, visibility)
        stored, _ = self._home.create_run(run)
        return Run(self._home, stored, [])

    def save_simulation_result(
        self,
        name: str,
        result_type: str,
        data: Mapping[str, Any],
        display: Mapping[str, Any] | None = None,
        equation: str | None = None,
        circuit: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        tags: Iterable[str] = (),
        note: str | None = None,
        status: str | None = None,
        id: str | None = None,
        created_at: datetime | None = None,
        owner: str | None = None,
        organization_id: str | None = None,
        visibility: Literal["private", "org_public", "public"] | None = None,
    ) -> Run:
        """Create a run with one result, both or none; answer the run."""
        run = new_run(name, equation, circuit, metadata, tags, note, status, id, created_at)
        run = owned(run, owner, organization_id, visibility)
        result = new_result(run.id, result_type, data, display, None, created_at)
        stored, results = self._home.create_run(run, [result])
        return Run(self._home, stored, [Result(self._home, one, whole=False) for one in results])

    def add_result(
        self,
        run: Run | str | None = None,
        result_type: str | None = None,
        data: Mapping[str, Any] | None = None,
        display: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        id: str | None = None,
        created_at: datetime | None = None,
    ) -> Result:
        """Add a result to a run, given as `run` or by `run_id`; a Run passed is updated.

        data: numbers, text, lists, dicts, complex numbers, datetimes, numpy and JAX arrays,
        nested as you like; it comes back exactly. Arrays over 1,024 elements become .npy
        files. Raises TypeError that names the field for anything else (object arrays, sets).
        """
        if run is None and run_id is None:
            raise InvalidFieldError("run", "is missing", "give a run, or run_id=")
        given = run.id if isinstance(run, Run) else run
        if run_id is not None and given is not None and given != run_id:
            raise InvalidFieldError("run_id", f"{run_id} is not the run given", "give one of them")
        owner = check_id(given if given is not None else run_id or "", "run_id")
        if result_type is None:
            raise InvalidFieldError("result_type", "is missing", 'give one, like "Solution1D"')
        if data is None:
            raise InvalidFieldError("data", "is missing", "give a dict of fields")
        document = new_result(owner, result_type, data, display, id, created_at)
        result = Result(self._home, self._home.add_result(document), whole=False)
        if isinstance(run, Run):
            run.added(result)
        return result

    def append(
        self, result: Result | str, data: Mapping[str, Any], *, at: int | None = None
    ) -> Result:
        """Let a result grow while its run goes on: a loss curve, an ensemble, frames.

        Every field named in `data` grows by the same number of rows on its first axis
        (StochasticEnsemble.paths: on its second, time); fields not named stay as they are.
        Readers see all of the rows or none.

        at: the number of rows you believe are there. A Result passed knows it, so that two
        who append to their own copies are told (LengthMismatchError) instead of mixed; by id
        and without `at`, rows go wherever the end is. Rows that are already there at `at`
        change nothing, so a repeat is safe. Raises CannotAppendError, which says what does
        not fit. Answers the result, updated.
        """
        if isinstance(result, Result):
            result.append(data, at)
            return result
        return Result(
            self._home, self._home.append(check_id(result, "result_id"), data, at), whole=False
        )

    def finish_run(self, run: Run | str, status: str = "succeeded") -> Run:
        """Say that a run has ended, and how: "succeeded" or "failed". A repeat changes nothing."""
        fields.check_status(status, finished=True)

        def finished(old: RunDocument) -> RunDocument:
            if old.status == status and old.finished_at is not None:
                return old
            now = max(datetime.now(UTC), old.updated_at)
            return replace(old, status=status, finished_at=now, updated_at=now)

        return self._update(run, finished)

    def update_run(
        self,
        run: Run | str,
        *,
        name: str | Unchanged = UNCHANGED,
        equation: str | Unchanged | None = UNCHANGED,
        circuit: str | Unchanged | None = UNCHANGED,
        metadata: Mapping[str, Any] | Unchanged = UNCHANGED,
        tags: Iterable[str] | Unchanged = UNCHANGED,
        note: str | Unchanged | None = UNCHANGED,
        status: str | Unchanged | None = UNCHANGED,
        owner: str | Unchanged = UNCHANGED,
        organization_id: str | Unchanged | None = UNCHANGED,
        visibility: str | Unchanged = UNCHANGED,
    ) -> Run:
        """Change what is named; metadata and tags are replaced as a whole. Answers the run."""
        changes = fields.checked(
            name=name,
            equation=equation,
            circuit=circuit,
            metadata=metadata,
            tags=tags,
            note=note,
            status=status,
            owner=owner,
            organization_id=organization_id,
            visibility=visibility,
        )
        return self._update(run, lambda old: moved(old, changes))

    def _update(self, run: Run | str, change: Any) -> Run:
        run_id = check_id(run.id if isinstance(run, Run) else run, "run_id")
        stored = self._home.update_run(run_id, change)
        if isinstance(run, Run):
            run.take(stored)
            return run
        return Run(self._home, stored, None)

    def load_run(self, run_id: str) -> Run:
        """Load a run. Its results are read when they are first looked at."""
        return Run(self._home, self._home.read_run(check_id(run_id, "run_id")), None)

    def get_run(self, run_id: str) -> Run:
        """Load a run and all its results together. Arrays are read when `data` is looked at."""
        run = self.load_run(run_id)
        run.results  # noqa: B018  # reads them now
        return run

    def get_run_with_results(self, run_id: str) -> Run:
        """Load a run and all its results together, as `get_run`."""
        return self.get_run(run_id)

    def list_runs(self, limit: int | None = None) -> list[Run]:
        """List runs, newest first; with `limit`, no more documents are read than it takes.

        Only runs whose ids are not UUIDv7 have to be read to be put in order. Documents
        that cannot be read are left out, and logged.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise InvalidFieldError("limit", f"is {limit!r}", "give a whole number from 0, or None")
        ids = self._home.run_ids_newest_first()
        return read_all(self._readable_run, ids, at_once=self._home.reads_at_once, limit=limit)

    def _readable_run(self, run_id: str) -> Run | None:
        try:
            return self.load_run(run_id)
        except NotFoundError:
            return None
        except DocumentError as error:
            _log.warning("%s", error)
            return None

    def load_result(self, result_id: str) -> Result:
        """Load a result with its data; arrays above 1 MiB are memory-mapped."""
        document = self._home.read_result(check_id(result_id, "result_id"))
        return Result(self._home, document, whole=True)

    def delete_run(self, run_id: str | Run) -> None:
        """Delete a run, its results and their arrays. Raises NotFoundError."""
        self._home.delete_run(check_id(run_id.id if isinstance(run_id, Run) else run_id, "run_id"))

    def delete_result(self, result_id: str | Result) -> None:
        """Delete a result and its arrays. Raises NotFoundError."""
        id = result_id.id if isinstance(result_id, Result) else result_id
        self._home.delete_result(check_id(id, "result_id"))

    def watch(
        self, *, start: Literal["snapshot", "now"] = "snapshot", token: str = ""
    ) -> Iterator[Event]:
        """Say what changes, whoever changes it, for as long as you ask: a script, a notebook.

        start: "snapshot" says first what there is, between "reset" and "snapshot_end"; "now"
        does not, and says what changes from this call on. token: that of an event, to go on
        behind it; one that is no longer known (those of a folder end with its watch) is
        answered by a reset and a snapshot.
        Event says what an event has. Leave the loop to end the watch.
        """
        if start not in ("snapshot", "now"):
            raise InvalidFieldError("start", f"{start!r} is not known", 'use "snapshot" or "now"')
        snapshot = start == "snapshot" or bool(token)
        return watch_home(self._home, snapshot=snapshot, token=token)

    def pending(self) -> list[Pending]:
        """What is saved but not there yet: in the spool, in order, then what was refused.

        Always empty without a spool: then a save is there when it returns.
        """
        ask = getattr(self._home, "pending", None)
        return [] if ask is None else list(ask())
