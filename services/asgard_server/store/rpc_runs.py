"""The runs of variations as runs of RunService, which is told of them by gRPC.

Each message is the whole of what is known of a run (experiment/documents.py). Telling it twice, or
too late, does no harm: RunService lets no run go back, and a document that is there stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import orjson
from gimle.asgard.core.documents import parse_time
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.run_owner_pb2 import RunOwner
from google.protobuf.timestamp_pb2 import Timestamp

from asgard_server.store.rpc_refusals import info_of, untaken

_SECONDS = 30.0
# RunService has got further, or somebody deleted the document: there is nothing left to be told.
_DONE = frozenset({"ALREADY_EXISTS", "DELETED", "RUN_STATE", "RUN_NOT_FOUND"})
_STATUSES: Mapping[str, pb.Run.Status.ValueType] = {
    "succeeded": pb.Run.STATUS_SUCCEEDED,
    "failed_crash": pb.Run.STATUS_FAILED_CRASH,
    "failed_abandoned": pb.Run.STATUS_FAILED_ABANDONED,
    "failed_lost": pb.Run.STATUS_FAILED_LOST,
}


class RpcRuns:
    """RunService over `channel`, which leads to where `place` says."""

    def __init__(self, channel: grpc.aio.Channel, place: str) -> None:
        # The generated stubs are typed for either kind of channel.
        self._stub: Any = pb_grpc.RunServiceStub(channel)
        self._place = place

    async def put(self, body: Mapping[str, Any]) -> None:
        """Let a run's document say at least this. Raises `StorageUnavailableError`,
        `RefusedError`.
        """
        created_at = _timestamp(body["created_at"])
        await self._call(
            "CreateRun",
            pb.CreateRunRequest(
                run_id=body["run_id"],
                name=body["name"],
                create_time=created_at,
                metadata=orjson.dumps(body["metadata"]),
                status=pb.Run.STATUS_PENDING,
                belongs=_belongs(body),
            ),
        )
        belongs = _belongs(body, running=body["status"] == "running")
        await self._call("UpdateRun", pb.UpdateRunRequest(run_id=body["run_id"], belongs=belongs))
        if body["finished_at"] is not None:
            await self._call(
                "FinishRun",
                pb.FinishRunRequest(
                    run_id=body["run_id"],
                    status=_STATUSES[body["status"]],
                    finish_time=_timestamp(body["finished_at"]),
                ),
            )

    async def _call(self, method: str, request: Any) -> None:
        try:
            await getattr(self._stub, method)(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            if info_of(error).reason not in _DONE:
                said = f"{method}: {error.details() or error.code().name}"
                raise untaken(error, self._place, said) from error


def _belongs(body: Mapping[str, Any], *, running: bool = False) -> RunOwner:
    return RunOwner(
        owner=body["owner"],
        organization_id=body["organization_id"],
        visibility=body["visibility"],
        # Words that were left before there were any say nothing of them.
        readers=body.get("readers", ()),
        writers=body.get("writers", ()),
        running=running,
    )


def _timestamp(text: str) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(parse_time(text))
    return made
