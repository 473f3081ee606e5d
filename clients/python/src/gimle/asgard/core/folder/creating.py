"""Writing what is new into a storage folder: runs with their results, and single results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_run
from gimle.asgard.core.errors import AlreadyExistsError, AsgardError
from gimle.asgard.core.folder import files, refusals
from gimle.asgard.core.folder.arrayfiles import as_stored, free_name
from gimle.asgard.core.folder.deleting import Deleter
from gimle.asgard.core.folder.intents import Intents, Markers
from gimle.asgard.core.folder.layout import Layout
from gimle.asgard.core.folder.locks import Locks
from gimle.asgard.core.listing import with_results


class CreatedRun(NamedTuple):
    """A run and its results as they are stored; the run's bytes, and how its file lies there."""

    run: RunDocument
    results: list[ResultDocument]
    body: bytes
    stat: os.stat_result


@dataclass(frozen=True)
class Creator:
    """Writes documents that are not there yet, with their arrays, or nothing of them."""

    layout: Layout
    locks: Locks
    intents: Intents
    markers: Markers
    deleter: Deleter
    durable: bool

    def runs(
        self, batch: Sequence[tuple[RunDocument, Sequence[ResultDocument]]]
    ) -> list[CreatedRun | Exception]:
        """Do as `Folder.create_runs`."""
        answers: list[CreatedRun | Exception] = []
        begun: dict[int, tuple[RunDocument, bytes]] = {}
        written: list[list[ResultDocument]] = []
        try:
            for number, (run, results) in enumerate(batch):
                written.append([])
                # The answer of each, until its document is there.
                answers.append(AlreadyExistsError("run", run.id))
                try:
                    begun[number] = self._begin(run, results, written[-1])
                except Exception as error:  # noqa: BLE001 - it is the answer of this one alone
                    self._take_back(written.pop())
                    written.append([])
                    answers[number] = self._named(error)
            bodies = [(f"{run.id}.json", body) for run, body in begun.values()]
            outcomes = files.create_all(self.layout.runs, bodies, durable=self.durable)
            for (number, (run, body)), outcome in zip(begun.items(), outcomes, strict=True):
                if isinstance(outcome, os.stat_result):
                    answers[number] = CreatedRun(run, written[number], body, outcome)
                    continue
                self._take_back(written[number])
                if outcome is not None:
                    answers[number] = self._named(outcome)
        except BaseException:
            for each in written:
                self._take_back(each)
            raise
        return answers

    def _begin(
        self,
        run: RunDocument,
        results: Sequence[ResultDocument],
        written: list[ResultDocument],
    ) -> tuple[RunDocument, bytes]:
        """Write all of a new run but its own document, which is answered; fill `written`."""
        run = with_results(run, results)
        body = encode_run(run)
        if self.markers.exists(run.id):
            with self.locks.run(run.id):
                self.deleter.finish(run.id)
        if results and os.path.lexists(self.layout.document("run", run.id)):
            raise AlreadyExistsError("run", run.id)
        for result in results:
            written.append(self.write_result(result))  # noqa: PERF401  # what is written is undone on failure
        return run, body

    def _take_back(self, written: Sequence[ResultDocument]) -> None:
        for result in written:
            self.deleter.remove_result(result)

    def _named(self, error: Exception) -> Exception:
        """An error of the file system in our words; any other as it is."""
        if isinstance(error, AsgardError) or not isinstance(error, OSError):
            return error
        named = refusals.unavailable(self.layout.root, error)
        named.__cause__ = error
        return named

    def write_result(self, result: ResultDocument) -> ResultDocument:
        """Write a new result's arrays and document. Raises AlreadyExistsError."""
        name = f"{result.id}.json"
        result, body, arrays = as_stored(result, partial(free_name, self.layout, result.id))
        if not arrays:
            if not files.create(self.layout.results, name, body, durable=self.durable):
                raise AlreadyExistsError("result", result.id)
            return result
        document = self.layout.document("result", result.id)
        if os.path.lexists(document):
            raise AlreadyExistsError("result", result.id)
        intent = self.intents.begin(result.id, [array.name for array in arrays])
        placed = []
        try:
            for array in arrays:
                array.write(self.layout, durable=self.durable)
                placed.append(array.name)
            if self.durable:
                files.sync_folder(self.layout.files)
            if not files.create(self.layout.results, name, body, durable=self.durable):
                raise AlreadyExistsError("result", result.id)
        except AlreadyExistsError:
            self._remove_arrays(placed)
            raise
        except BaseException:
            if not os.path.lexists(document):
                self._remove_arrays(placed)
            raise
        finally:
            self.intents.end(result.id, intent)
        return result

    def _remove_arrays(self, names: list[str]) -> None:
        for name in names:
            files.remove(self.layout.array(name))
