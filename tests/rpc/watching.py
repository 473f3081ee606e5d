"""A watcher as clients are: it keeps what it is told, and its token."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.rpc.running import OPTIONS

_Change = pb.WatchRunsResponse.Change
UPDATE = _Change.KIND_UPDATE


class Told(NamedTuple):
    """One thing that a watch has told: an event, or one change of a message."""

    kind: str
    change: pb.WatchRunsResponse.Change
    revision: int
    resume_token: str


def told(message: pb.WatchRunsResponse) -> list[Told]:
    """What a message tells, in order. One that tells nothing, or two kinds of things, is wrong."""
    kind = message.WhichOneof("event")
    if kind is not None:
        assert not message.changes
        return [Told(kind, _Change(), message.revision, message.resume_token)]
    last = message.changes[-1]
    assert (message.revision, message.resume_token) == (last.revision, last.resume_token)
    return [Told("change", each, each.revision, each.resume_token) for each in message.changes]


class Heard:
    """A watch, read one thing at a time."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._waiting: list[Told] = []

    async def next(self) -> Told:
        """The next thing told."""
        while not self._waiting:
            self._waiting = told(await self.call.read())
        return self._waiting.pop(0)


class Watcher:
    """Holds the objects it was told of, every revision it saw, and where to resume."""

    def __init__(self, run_id: str = "") -> None:
        self.run_id = run_id
        self.token = ""
        self.revisions: list[int] = []
        self.resets = 0
        self.snapshots = 0
        self.objects: dict[tuple[int, str], Any] = {}
        self._before: dict[tuple[int, str], Any] | None = None

    def request(self) -> pb.WatchRunsRequest:
        """Resume from the token, or begin with a snapshot."""
        return pb.WatchRunsRequest(
            start=pb.WatchRunsRequest.START_SNAPSHOT,
            resume_token=self.token,
            run_id=self.run_id,
        )

    def take(self, message: pb.WatchRunsResponse) -> None:
        """Do with a message what the comment of WatchRuns says."""
        for event in told(message):
            self._take(event)

    def _take(self, event: Told) -> None:
        kind = event.kind
        if kind == "reset":
            self.resets += 1
            self.token = ""
            self.objects, self.revisions = {}, []
        elif kind == "snapshot_end":
            self.snapshots += 1
        elif kind == "change":
            change = event.change
            key = (change.object_type, change.object_id)
            if change.kind == UPDATE:
                self.objects[key] = change.run if change.HasField("run") else change.result
            else:
                self.objects.pop(key, None)
            if event.revision:
                self.revisions.append(event.revision)
        if event.resume_token:
            self.token = event.resume_token

    async def watch(self, address: str, enough: Any) -> None:
        """Watch until `enough(self)`, asked after every event. Raises what ends the stream."""
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            stub: Any = channel.unary_stream(
                "/gimle.asgard.v1.RunService/WatchRuns",
                request_serializer=pb.WatchRunsRequest.SerializeToString,
                response_deserializer=pb.WatchRunsResponse.FromString,
            )
            call = stub(self.request())
            async for message in call:
                # One who leaves in the middle of a message resumes in the middle of it.
                for event in told(message):
                    self._take(event)
                    if enough(self):
                        call.cancel()
                        return
