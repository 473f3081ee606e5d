"""Deleting: the marker, the run, its results, their arrays, and the marker at the end."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gimle.asgard.core.documents import (
    ResultDocument,
    decode_result,
    decode_run,
    encode_run,
)
from gimle.asgard.core.errors import DocumentError, NotFoundError
from gimle.asgard.core.folder import files
from gimle.asgard.core.folder.arrayfiles import array_names
from gimle.asgard.core.folder.intents import Markers
from gimle.asgard.core.folder.layout import Layout
from gimle.asgard.core.ids import is_id


@dataclass(frozen=True)
class Deleter:
    """Deletes from one folder. The caller holds the run's lock."""

    layout: Layout
    markers: Markers
    durable: bool

    def delete_run(self, run_id: str, results: Iterable[str]) -> None:
        """Delete a run and those of `results` that are its own. Raises NotFoundError."""
        if not os.path.lexists(self.layout.document("run", run_id)):
            raise NotFoundError("run", run_id)
        own: list[str] = []
        names: list[str] = []
        for result_id in results:
            mine = self._arrays_of(result_id, run_id)
            if mine is not None:
                own.append(result_id)
                names += mine
        self.markers.write("run", run_id, run_id, own, names)
        self.finish(run_id)

    def delete_result(self, result: ResultDocument) -> None:
        """Delete a result and take it off its run's list."""
        names = array_names(result)
        self.markers.write("result", result.id, result.run_id, [result.id], names)
        self.finish(result.id)

    def finish(self, id: str) -> bool:
        """Do what the marker of a run or result says; answer whether there was one."""
        marker = self.markers.read(id)
        if marker is None:
            return False
        kind, run_id, results, names = marker
        if kind == "run":
            files.remove(self.layout.document("run", run_id))
        else:
            self._unlist(run_id, results)
        for result_id in results:
            files.remove(self.layout.document("result", result_id))
        for name in names:
            files.remove(self.layout.array(name))
        if self.durable:
            for folder in (self.layout.runs, self.layout.results, self.layout.files):
                files.sync_folder(folder)
        self.markers.remove(id)
        return True

    def remove_result(self, result: ResultDocument) -> None:
        """Take back a result that this process has just written and nobody was told of."""
        files.remove(self.layout.document("result", result.id))
        for name in array_names(result):
            files.remove(self.layout.array(name))

    def _unlist(self, run_id: str, results: list[str]) -> None:
        body = files.read(self.layout.document("run", run_id))
        if body is None:
            return
        try:
            run = decode_run(body, run_id)
        except DocumentError:
            return
        left = tuple(id for id in run.results if id not in results)
        if left != run.results:
            run = replace(run, results=left, updated_at=max(datetime.now(UTC), run.updated_at))
            files.replace(self.layout.runs, f"{run_id}.json", encode_run(run), durable=self.durable)

    def _arrays_of(self, result_id: str, run_id: str) -> list[str] | None:
        """The array files of a result, None when there is none or it is another run's."""
        if not is_id(result_id):
            return None
        body = files.read(self.layout.document("result", result_id))
        if body is None:
            return None
        try:
            result = decode_result(body, result_id)
        except DocumentError:
            return []
        return array_names(result) if result.run_id == run_id else None
