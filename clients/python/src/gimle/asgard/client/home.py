"""A storage behind RunService: what an AsgardStorage does with documents, as calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from time import sleep
from typing import Any

from gimle.asgard.client import codec
from gimle.asgard.client.attempts import pause_before
from gimle.asgard.client.connection import SLOWEST_BYTES_A_SECOND, Connection
from gimle.asgard.client.outgoing import STREAMED_BYTES
from gimle.asgard.client.watching import watch
from gimle.asgard.core.documents import ResultDocument, RunDocument, same_run
from gimle.asgard.core.errors import EtagMismatchError, LengthMismatchError, NotFoundError
from gimle.asgard.core.growth import committed_length
from gimle.asgard.core.watching import Event
from gimle.asgard.v1 import run_service_pb2 as pb

# How often a change is made anew because somebody else was faster.
_TRIES = 50

_FIRST_PAGE, _LARGEST_PAGE = 50, 1_000


class GrpcHome:
    """Documents kept by the service at `connection`. Errors are those of core.errors.

    Every method may be repeated until its answer arrives: creates carry the ids of what
    they create, appends the length they expect, updates the etag they have seen.
    """

    #: How many documents are worth reading side by side: each is a call to the service.
    reads_at_once = 16

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach the same service from the process that this is sent to."""
        return GrpcHome, (self.connection,)

    def create_run(
        self, run: RunDocument, results: Sequence[ResultDocument] = ()
    ) -> tuple[RunDocument, list[ResultDocument]]:
        """Create a run with its results; answer both as stored."""
        if not results:
            return codec.run(self.connection.send(codec.create_call(run)).run), []
        call, stored = codec.save_call(run, results)
        return codec.run(self.connection.send(call).run), stored

    def update_run(self, run_id: str, change: Callable[[RunDocument], RunDocument]) -> RunDocument:
        """Replace a run by `change` of itself, alone."""
        for attempt in count(1):
            message = self._call("GetRun", pb.GetRunRequest(run_id=run_id)).run
            old = codec.run(message)
            new = change(old)
            if same_run(new, old):
                break
            ending = codec.finish_request(old, new)
            request = codec.update_request(old, new, message.etag)
            try:
                if request is not None:
                    message = self._call("UpdateRun", request).run
            except EtagMismatchError:
                if attempt == _TRIES:
                    raise
                sleep(pause_before(min(attempt, 4)))
                continue
            if ending is not None:
                message = self._call("FinishRun", ending).run
            return codec.run(message)
        return old

    def add_result(self, result: ResultDocument) -> ResultDocument:
        """Add a result to its run; answer it as stored."""
        call, stored = codec.add_call(result)
        self.connection.send(call)
        return stored

    def append(self, result_id: str, data: Mapping[str, Any], at: int | None) -> ResultDocument:
        """Grow fields of a result; without `at`, at the end wherever that is."""
        for attempt in count(1):
            end = at
            if end is None:
                end = committed_length(self.read_result_document(result_id), data)
            try:
                answer = self.connection.send(codec.append_call(result_id, data, end))
            except LengthMismatchError:
                if at is not None or attempt == _TRIES:
                    raise
                continue
            return codec.result(answer.result)
        raise AssertionError  # the last attempt raises

    def delete_run(self, run_id: str) -> None:
        """Delete a run, its results and their arrays."""
        self._delete("DeleteRun", pb.DeleteRunRequest(run_id=run_id))

    def delete_result(self, result_id: str) -> None:
        """Delete a result and its arrays."""
        self._delete("DeleteResult", pb.DeleteResultRequest(result_id=result_id))

    def _delete(self, method: str, request: Any) -> None:
        for attempt in self.connection.attempts():
            with attempt:
                try:
                    self.connection.call(method, request, patience=0)
                except NotFoundError:
                    # The answer to an attempt before this one was lost, not the attempt.
                    if attempt.number == 0:
                        raise

    def read_run(self, run_id: str) -> RunDocument:
        """Read a run."""
        return codec.run(self._call("GetRun", pb.GetRunRequest(run_id=run_id)).run)

    def read_result_document(self, result_id: str) -> ResultDocument:
        """Read a result; large arrays stay references."""
        return codec.result(
            self._call("GetResult", pb.GetResultRequest(result_id=result_id)).result
        )

    def read_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays, into memory."""
        request = pb.ReadResultRequest(result_id=result_id)
        attempts = self.connection.attempts()
        for attempt in attempts:
            with attempt:
                assembly = codec.Assembly()
                stream = self.connection.stream("ReadResult", request)
                for part in stream:
                    if assembly.take(part):
                        size = assembly.nbytes
                        tell = self.connection.telling("down", result_id, size, attempts)
                        if size > STREAMED_BYTES:
                            stream.allow(self.connection.timeout + size / SLOWEST_BYTES_A_SECOND)
                    else:
                        tell(assembly.done)
                return assembly.whole(result_id)
        raise AssertionError  # the last attempt raises

    def run_ids_newest_first(self) -> Iterator[str]:
        """List the ids of runs, page by page."""
        size, token = _FIRST_PAGE, ""
        while True:
            answer = self._call("ListRuns", pb.ListRunsRequest(page_size=size, page_token=token))
            for run in answer.runs:
                yield run.run_id
            token, size = answer.next_page_token, _LARGEST_PAGE
            if not token:
                return

    def watch(self, *, snapshot: bool, token: str) -> Iterator[Event]:
        """Say what changes, over restarts of the service."""
        return watch(self.connection, snapshot=snapshot, token=token)

    def _call(self, method: str, request: Any) -> Any:
        return self.connection.call(method, request)
