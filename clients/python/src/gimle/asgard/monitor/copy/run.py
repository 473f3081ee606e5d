"""A copy of one run: begun without its ending, given its results one by one, ended as it was.

Who is killed in between goes on there the next time. What changes meanwhile at the source is
copied once more; what differs at the target is reported, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gimle.asgard.core.documents import OWNED, RunDocument
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    DocumentError,
    NotFoundError,
)
from gimle.asgard.monitor.copy.comparing import SAID, run_difference
from gimle.asgard.monitor.copy.homes import OF_THE_HOME, Homes, TroubleError, keeps_documents
from gimle.asgard.monitor.copy.report import Kind, Problem, Tally
from gimle.asgard.monitor.copy.result import bring
from gimle.asgard.monitor.fields import FINISHED

# How often a run that changes meanwhile is gone through.
_ROUNDS = 3

# How a run may stand at a service.
_TOLD = (None, "running", "succeeded", "failed")


class RunCopy:
    """The copying of the run `run_id`, and of `strays`, results that it does not list.

    over: says when to end soon.
    """

    def __init__(
        self,
        homes: Homes,
        tally: Tally,
        over: Callable[[], bool],
        run_id: str,
        strays: tuple[str, ...],
    ) -> None:
        self._homes = homes
        self._tally = tally
        self._over = over
        self._run_id = run_id
        self._strays = strays
        self._wrote = False
        self._written_as: RunDocument | None = None
        self._compared: dict[str, bytes] = {}
        self._problems: dict[str, Problem] = {}

    def copy(self) -> None:
        """Copy it. Raises TroubleError, and the errors of both homes."""
        for _ in range(_ROUNDS):
            self._problems.clear()
            run = self._homes.source.read_run(self._run_id)
            ids = tuple(dict.fromkeys((*run.results, *self._strays)))
            there = self._begin(run)
            for result_id in ids:
                if self._over():
                    return
                self._result(result_id, listed=result_id in there.results)
            if self._unchanged(run):
                break
        else:
            raise TroubleError(
                "changed", "it kept changing while it was copied; copy it again when it rests"
            )
        self._end(run, tuple(id for id in ids if id in self._compared))
        for problem in self._problems.values():
            self._tally.problem(problem)
        if not self._problems:
            self._tally.count(**{"runs_copied" if self._wrote else "runs_present": 1})

    # The run

    def _begin(self, run: RunDocument) -> RunDocument:
        """See that the run is there, and that it is this one."""
        if not keeps_documents(self._homes.target) and run.status not in _TOLD:
            raise TroubleError("refused", f"a service cannot be told that a run is {run.status}")
        try:
            there = self._homes.target.read_run(run.id)
        except NotFoundError:
            return self._create(run)
        self._check_same(self._written_as or run, there)
        if there.status == run.status:
            differs = run.status in FINISHED and there.finished_at != run.finished_at
            how = f"it ended at {there.finished_at}, not at {run.finished_at}"
        else:
            differs = there.status is not None and (
                there.status != "running" or run.status not in FINISHED
            )
            how = f"it is {there.status}, not {run.status or 'without a status'}"
        if differs:
            raise TroubleError("differs", f"the run is there and {how}")
        return there

    def _create(self, run: RunDocument) -> RunDocument:
        begun = replace(
            run,
            results=(),
            status="running" if run.status == "running" else None,
            finished_at=None,
            extra=run.extra if keeps_documents(self._homes.target) else {},
        )
        try:
            there, _ = self._homes.target.create_run(begun)
        except AlreadyExistsError as error:
            raise TroubleError("differs", str(error)) from error
        self._wrote, self._written_as = True, run
        lost = run.extra.keys() - OWNED
        if lost and not keeps_documents(self._homes.target):
            # Whose it is, the service says anew: whoever copies it owns the copy.
            names = ", ".join(sorted(lost))
            self._tally.note(f"run {run.id}: a service does not keep its keys {names}")
        return there

    def _check_same(self, run: RunDocument, there: RunDocument) -> None:
        differing = run_difference(run, there, extra=self._homes.extra)
        if differing:
            raise TroubleError("differs", f"the run is there and {differing}")

    def _unchanged(self, run: RunDocument) -> bool:
        """Whether the source still is what was copied of it."""
        source = self._homes.source
        now = source.read_run(run.id)
        if run_difference(run, now, extra=True) or (now.status, now.finished_at, now.results) != (
            run.status,
            run.finished_at,
            run.results,
        ):
            return False
        for result_id, document in self._compared.items():
            try:
                present = self._homes.fingerprint(source.read_result_document(result_id))
            except NotFoundError:
                return False
            if present.document != document:
                return False
        return True

    def _end(self, run: RunDocument, ids: tuple[str, ...]) -> None:
        """Let the run list its results in their order, and stand as it stands at the source."""

        def ended(old: RunDocument) -> RunDocument:
            self._check_same(self._written_as or run, old)
            more = set(old.results).difference(ids, self._problems)
            if more:
                raise TroubleError(
                    "differs",
                    f"the run is there with {len(more)} result(s) that the source has not got: "
                    + ", ".join(sorted(more)[:3]),
                )
            rest = tuple(id for id in old.results if id not in ids)
            said = {name: getattr(run, name) for name in SAID}
            return replace(
                old,
                **said,
                extra=run.extra if self._homes.extra else old.extra,
                results=(*ids, *rest),
                status=run.status,
                finished_at=run.finished_at,
                updated_at=run.updated_at,
            )

        before = self._homes.target.read_run(run.id)
        after = self._homes.target.update_run(run.id, ended)
        self._check_same(run, after)
        if (after.status, after.finished_at) != (run.status, run.finished_at):
            raise TroubleError("damaged", f"the run is {after.status} after it was copied")
        if (before.status, before.results) != (after.status, after.results):
            self._wrote = True

    # Its results

    def _result(self, result_id: str, *, listed: bool) -> None:
        """Bring a result over, unless what is there of it at the source has been already."""
        try:
            found = self._homes.source.read_result_document(result_id)
            if found.run_id != self._run_id:
                return  # listed here, and another's
            if self._compared.get(result_id) == self._homes.fingerprint(found).document:
                return
            brought = bring(self._homes, self._tally, found, listed=listed)
        except TroubleError as trouble:
            self._trouble(result_id, trouble.kind, str(trouble))
        except NotFoundError as error:
            self._trouble(result_id, "missing", f"the run lists it, but {error}")
        except DocumentError as error:
            self._trouble(result_id, "unreadable", str(error))
        except OF_THE_HOME:
            raise
        except AsgardError as error:
            self._trouble(result_id, "refused", str(error))
        else:
            self._compared[result_id] = brought.document
            self._wrote |= brought.wrote

    def _trouble(self, result_id: str, kind: Kind, problem: str) -> None:
        self._problems[result_id] = Problem(self._run_id, result_id, kind, problem)
