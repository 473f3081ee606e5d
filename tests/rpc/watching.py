"""A watcher as clients are: it keeps what it is told, and its token."""

from __future__ import annotations

from typing import Any

import grpc
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.rpc.running import OPTIONS

_Change = pb.WatchRunsResponse.Change
UPDATE = _Change.KIND_UPDATE


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

    def take(self, event: pb.WatchRunsResponse) -> None:
        """Do with an event what the comment of WatchRuns says."""
        kind = event.WhichOneof("event")
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
            async for event in call:
                self.take(event)
                if enough(self):
                    call.cancel()
                    return
