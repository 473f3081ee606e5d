"""Watching what a service keeps: one stream after another, each from where the last ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
from gimle.asgard.client.attempts import pause_before
from gimle.asgard.client.connection import PATIENCE_SECONDS, Connection
from gimle.asgard.client.errors import PASSING, raised_by
from gimle.asgard.core.errors import ResumeTokenUnusableError, WatcherTooSlowError
from gimle.asgard.core.watching import Event, ObjectType
from gimle.asgard.v1 import run_service_pb2 as pb

_Change = pb.WatchRunsResponse.Change
_TYPES: dict[int, ObjectType] = {
    _Change.OBJECT_TYPE_RUN: "run",
    _Change.OBJECT_TYPE_RESULT: "result",
}

# What a watch from now says first, to `watch` alone: it knows where now is.
_NOW = Event("snapshot_end")


def watch(connection: Connection, *, snapshot: bool, token: str = "") -> Iterator[Event]:
    """Say what changes, in order and once, over restarts of the service.

    Behind `token`, else from a snapshot or from now: from this call on, which waits for the
    service to say where that is, however late the first event is asked for. When the service
    can no longer tell what came behind the last token, it is a reset and a snapshot. Raises
    StorageUnavailableError when the service cannot be reached to begin with.
    """
    events = _events(connection, _Watching(snapshot=snapshot, token=token))
    if not snapshot and not token:
        next(events)
    return events


def _events(connection: Connection, watching: _Watching) -> Iterator[Event]:
    started, failures = time.monotonic(), 0
    while True:
        call = connection.stub.WatchRuns(watching.request())
        try:
            for message in call:
                failures = 0
                if watching.begins_now:
                    yield _NOW
                yield from watching.events(message)
        except grpc.RpcError as error:
            failed = raised_by(error, connection.place)
            if isinstance(failed, ResumeTokenUnusableError):
                watching.begin_anew()
            elif not isinstance(failed, (*PASSING, WatcherTooSlowError)) or (
                not watching.heard and time.monotonic() - started > PATIENCE_SECONDS
            ):
                raise failed from error
        finally:
            call.cancel()
        failures += 1
        time.sleep(pause_before(failures))


class _Watching:
    """Where a watch stands, over its streams."""

    def __init__(self, *, snapshot: bool, token: str) -> None:
        self.heard = False
        self._snapshot = snapshot
        self._token = token

    @property
    def begins_now(self) -> bool:
        """Whether the message at hand is the first of a watch from now."""
        return not (self.heard or self._snapshot or self._token)

    def begin_anew(self) -> None:
        """Begin the next stream at a snapshot."""
        self._snapshot, self._token = True, ""

    def request(self) -> pb.WatchRunsRequest:
        """What to ask for next."""
        if self._token:
            return pb.WatchRunsRequest(resume_token=self._token)
        # Once something was heard, "now" would leave out what came in between.
        snapshot = self._snapshot or self.heard
        start = pb.WatchRunsRequest.START_SNAPSHOT if snapshot else pb.WatchRunsRequest.START_NOW
        return pb.WatchRunsRequest(start=start)

    def events(self, message: Any) -> Iterator[Event]:
        """What a message says; its token stands behind the last of it."""
        self.heard = True
        said = message.WhichOneof("event")
        if said == "reset":
            self.begin_anew()
            yield Event("reset")
            return
        if said == "snapshot_end":
            self._token = message.resume_token
            yield Event("snapshot_end", token=self._token)
            return
        for change in message.changes:
            self._token = change.resume_token or self._token
            yield Event(
                "delete" if change.kind == _Change.KIND_DELETE else "update",
                _TYPES.get(change.object_type),
                change.object_id,
                change.run_id or change.object_id,
                self._token,
            )
        self._token = message.resume_token or self._token
