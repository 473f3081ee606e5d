"""A GrpcHome that loses nothing while its service cannot be reached.

What cannot be sent goes to the spool, and so does all that comes while something waits
there; a thread sends it later, or that of a later process does. Reads ask the service.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from gimle.asgard.client import codec
from gimle.asgard.client.connection import Connection
from gimle.asgard.client.errors import PASSING
from gimle.asgard.client.home import GrpcHome
from gimle.asgard.client.outgoing import Outgoing
from gimle.asgard.client.replaying import Pending, Replayer, pending
from gimle.asgard.client.spool import Spool
from gimle.asgard.core.arrays import dtype_name
from gimle.asgard.core.documents import ResultDocument, RunDocument, same_run
from gimle.asgard.core.errors import (
    AsgardError,
    LengthMismatchError,
    StorageUnavailableError,
)
from gimle.asgard.core.growth import plan, replaced
from gimle.asgard.v1 import run_service_pb2 as pb

_log = logging.getLogger("gimle.asgard")

# How long a call tries to reach the service: a save then goes to the spool.
PATIENCE_SECONDS = 2.0

# Documents kept in mind, for changes to them that come while the service is away.
_KNOWN = 1_000

_Document = TypeVar("_Document", RunDocument, ResultDocument)


class SpoolingHome(GrpcHome):
    """A home whose saves go to `spool` when they cannot be sent."""

    def __init__(self, connection: Connection, spool: Spool) -> None:
        super().__init__(connection)
        self.spool = spool
        # What follows is of this process: another one begins without.
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, RunDocument] = OrderedDict()
        self._results: OrderedDict[str, ResultDocument] = OrderedDict()
        self._etags: dict[str, str] = {}
        self._replayer = Replayer(connection, spool)
        if not spool.empty():
            self._replayer.wake()

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach the same service by the same spool from the process that this is sent to."""
        return SpoolingHome, (self.connection, self.spool)

    # Saves

    def create_run(
        self, run: RunDocument, results: Sequence[ResultDocument] = ()
    ) -> tuple[RunDocument, list[ResultDocument]]:
        """Create a run with its results; answer both as stored, or as they will be."""
        call, stored = codec.save_call(run, results) if results else (codec.create_call(run), [])
        answer = self._save(call, run.id)
        for result in stored:
            self._keep(self._results, result)
        if answer is not None:
            return self._seen(answer.run), stored
        waiting = replace(run, results=tuple(result.id for result in stored))
        return self._keep(self._runs, waiting), stored

    def update_run(self, run_id: str, change: Callable[[RunDocument], RunDocument]) -> RunDocument:
        """Replace a run by `change` of itself, as it is or as it will be."""
        error: AsgardError | None = None
        if self._straight():
            try:
                run = super().update_run(run_id, change)
                self._etags.pop(run_id, None)
                return self._keep(self._runs, run)
            except PASSING as failed:
                error = failed
        old = self._known(self._runs, run_id, "run", error)
        new = change(old)
        if same_run(new, old):
            return old
        ending = codec.finish_request(old, new)
        request = codec.update_request(old, new, self._etags.pop(run_id, ""))
        for method, message in (("UpdateRun", request), ("FinishRun", ending)):
            if message is not None:
                self._put(Outgoing(method, run_id, message), run_id)
        return self._keep(self._runs, new)

    def add_result(self, result: ResultDocument) -> ResultDocument:
        """Add a result to its run; answer it as stored, or as it will be."""
        call, stored = codec.add_call(result)
        self._etags.pop(result.run_id, None)
        self._save(call, result.run_id)
        run = self._runs.get(result.run_id)
        if run is not None:
            self._keep(self._runs, replace(run, results=(*run.results, result.id)))
        return self._keep(self._results, stored)

    def append(self, result_id: str, data: Mapping[str, Any], at: int | None) -> ResultDocument:
        """Grow fields of a result, as it is or as it will be."""
        error: AsgardError | None = None
        if self._straight():
            try:
                return self._keep(self._results, super().append(result_id, data, at))
            except PASSING as failed:
                error = failed
        result = self._known(self._results, result_id, "result", error)
        length, added, growths = plan(result, data)
        if at is not None and at != length:
            raise LengthMismatchError(length)
        self._put(codec.append_call(result_id, data, length), result.run_id)
        for growth in growths:
            kind = dtype_name(growth.rows.dtype)
            grown = growth.reference("in the spool", kind, length + added)
            result = replace(result, data=replaced(result.data, growth.path, grown))
        return self._keep(self._results, result)

    def delete_run(self, run_id: str) -> None:
        """Delete a run, its results and their arrays, now or later."""
        self._runs.pop(run_id, None)
        self._etags.pop(run_id, None)
        if self._straight():
            try:
                return super().delete_run(run_id)
            except PASSING:
                pass
        return self._put(Outgoing("DeleteRun", run_id, pb.DeleteRunRequest(run_id=run_id)), run_id)

    def delete_result(self, result_id: str) -> None:
        """Delete a result and its arrays, now or later."""
        result = self._results.pop(result_id, None)
        if result is not None:
            self._etags.pop(result.run_id, None)
        error: AsgardError | None = None
        if self._straight():
            try:
                return super().delete_result(result_id)
            except PASSING as failed:
                error = failed
        if result is None:
            raise error or self._away("result", result_id)
        request = pb.DeleteResultRequest(result_id=result_id)
        return self._put(Outgoing("DeleteResult", result_id, request), result.run_id)

    # Reads, kept in mind

    def read_run(self, run_id: str) -> RunDocument:
        """Read a run; what waits in the spool is not in it yet."""
        return self._seen(self._call("GetRun", pb.GetRunRequest(run_id=run_id)).run)

    def read_result_document(self, result_id: str) -> ResultDocument:
        """Read a result; large arrays stay references."""
        result = super().read_result_document(result_id)
        return self._keep(self._results, result) if self.spool.empty() else result

    def pending(self) -> list[Pending]:
        """What the service has not got: what waits, in order, then what it refused."""
        return pending(self.spool)

    # How

    def _straight(self) -> bool:
        """Whether a save may be sent now; tells what has been refused since it was last asked."""
        for text in self._replayer.news():
            warnings.warn(text, UserWarning, stacklevel=5)
        if self.spool.empty():
            return True
        self._replayer.wake()
        return False

    def _save(self, call: Outgoing, run_id: str) -> Any:
        """Send a call and answer its response, or keep it and answer None."""
        if self._straight():
            try:
                return self.connection.send(call)
            except PASSING as error:
                _log.warning("%s; what is saved waits in %s", error, self.spool.path)
        self._put(call, run_id)
        return None

    def _put(self, call: Outgoing, run_id: str) -> None:
        self.spool.put(call, run_id)
        self._replayer.wake()

    def _keep(self, known: OrderedDict[str, _Document], document: _Document) -> _Document:
        with self._lock:
            known[document.id] = document
            known.move_to_end(document.id)
            if len(known) > _KNOWN:
                known.popitem(last=False)
        return document

    def _known(
        self, known: OrderedDict[str, _Document], id: str, kind: str, error: AsgardError | None
    ) -> _Document:
        document = known.get(id)
        if document is None:
            raise error or self._away(kind, id)
        return document

    def _away(self, kind: str, id: str) -> AsgardError:
        return StorageUnavailableError(
            self.connection.place,
            f"saves wait in {self.spool.path}, and this process has not seen the {kind} {id}; "
            "try again when they are sent",
        )

    def _seen(self, message: pb.Run) -> RunDocument:
        run = codec.run(message)
        if not self.spool.empty():
            return run
        self._etags[run.id] = message.etag
        return self._keep(self._runs, run)
