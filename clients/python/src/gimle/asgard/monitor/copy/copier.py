"""A copy of many runs: which they are, several at a time, and what becomes of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from gimle.asgard.core.errors import (
    AsgardError,
    DocumentError,
    InvalidFieldError,
    NotFoundError,
)
from gimle.asgard.monitor.copy.homes import OF_THE_HOME, Homes, TroubleError, keeps_documents
from gimle.asgard.monitor.copy.report import Problem, Report, Tally
from gimle.asgard.monitor.copy.run import RunCopy
from gimle.asgard.monitor.home import Home


class Copier:
    """Copies runs from `source` to `target`: what is there is not sent again, nor replaced.

    verify: compare arrays by their SHA-256, those sent and those that were there; else only
    documents. jobs: how many runs at a time. stop: when it is set, the copy ends soon.
    """

    def __init__(
        self,
        source: Home,
        target: Home,
        *,
        verify: bool = True,
        jobs: int = 4,
        stop: threading.Event | None = None,
    ) -> None:
        self._homes = Homes(source, target, verify)
        self._jobs = jobs
        self._stop = stop or threading.Event()
        self._failed = threading.Event()
        self._tally = Tally()

    @property
    def report(self) -> Report:
        """What has been done so far."""
        return self._tally.report

    def tell(self, what: Callable[[Report], None]) -> None:
        """Call `what` with the report after each step, from one thread at a time."""
        self._tally.tell = what

    def copy(self, run_ids: Sequence[str] | None = None) -> Report:
        """Copy these runs, or all of them; answer what has been done.

        Raises StorageUnavailableError, StorageFullError and ServiceError when a home fails:
        what has been copied by then stays, and the next copy goes on there.
        """
        source, report = self._homes.source, self._tally.report
        strays: Mapping[str, list[str]] = {}
        if run_ids is None:
            # Oldest first: what a copy that is broken off has brought is what came first.
            ids = list(source.run_ids_newest_first())[::-1]
            strays = _strays(source, ids)
        else:
            ids = list(dict.fromkeys(run_ids))
        self._tally.count(runs=len(ids))
        with ThreadPoolExecutor(self._jobs, "asgard-copy") as workers:
            running = [workers.submit(self._run, id, strays.get(id, ())) for id in ids]
            try:
                for each in as_completed(running):
                    each.result()
            except BaseException:
                self._failed.set()
                raise
        report.interrupted = self._stop.is_set()
        order = {id: place for place, id in enumerate(ids)}
        report.problems.sort(key=lambda one: (order[one.run_id], one.result_id or ""))
        return report

    def _over(self) -> bool:
        return self._stop.is_set() or self._failed.is_set()

    def _run(self, run_id: str, strays: Iterable[str]) -> None:
        if self._over():
            return
        try:
            RunCopy(self._homes, self._tally, self._over, run_id, tuple(strays)).copy()
        except TroubleError as trouble:
            self._tally.problem(Problem(run_id, None, trouble.kind, str(trouble)))
        except OF_THE_HOME:
            self._failed.set()
            raise
        except NotFoundError as error:
            self._tally.problem(Problem(run_id, None, "missing", str(error)))
        except DocumentError as error:
            self._tally.problem(Problem(run_id, None, "unreadable", str(error)))
        except AsgardError as error:
            self._tally.problem(Problem(run_id, None, "refused", str(error)))


def _strays(source: Home, run_ids: Iterable[str]) -> dict[str, list[str]]:
    """Results by their runs, which do not list them: their writers died in between."""
    if not keeps_documents(source):
        return {}  # a service knows them
    listed: set[str] = set()
    for run_id in run_ids:
        try:
            listed.update(source.read_run(run_id).results)
        except (NotFoundError, DocumentError):
            continue
    place: Any = source
    strays: dict[str, list[str]] = {}
    for result_id, _ in place.entries("result"):
        if result_id not in listed:
            try:
                result = source.read_result_document(result_id)
            except (NotFoundError, DocumentError):
                continue
            strays.setdefault(result.run_id, []).append(result_id)
    return {run_id: sorted(ids) for run_id, ids in strays.items()}


def check_apart(source: str, target: str) -> None:
    """Raise InvalidFieldError when both are one place."""

    def place(where: str) -> str:
        return where.rstrip("/") if "://" in where else os.path.realpath(where)

    if place(source) == place(target):
        raise InvalidFieldError("to", f"{target!r} is where it comes from", "give another place")
