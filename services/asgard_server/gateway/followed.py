"""The change logs that a gateway follows for its browsers: those of runs and of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from gimle.asgard.v1 import run_service_pb2 as runs_pb
from gimle.asgard.v1 import watch_jobs_pb2 as jobs_pb

Told = Callable[[Any], dict[str, str]]

_Run = runs_pb.WatchRunsResponse.Change
_Job = jobs_pb.WatchJobsResponse.Change
_OBJECTS = {_Run.OBJECT_TYPE_RUN: "run", _Run.OBJECT_TYPE_RESULT: "result"}


class Followed:
    """A log that is watched, and how far.

    `number` is its place in ids, `told` what browsers are told of a change. `token` is empty while
    its service has not said where now is; `lost`: some changes may have been missed since browsers
    were told that they are connected; `tried`: it has answered, or failed to.
    """

    def __init__(self, number: int, name: str, watch: Any, request: type[Any], told: Told) -> None:
        self.number = number
        self.name = name
        self.told = told
        self._watch = watch
        self._request = request
        self.token = ""
        self.lost = False
        self.tried = False
        self.connected = False

    def replies(self, token: str) -> Any:
        """Watch, behind a token or from now on. Iterating raises grpc.aio.AioRpcError."""
        if token:
            return self._watch(self._request(resume_token=token))
        return self._watch(self._request(start=self._request.START_NOW))


def followed(runs: grpc.aio.Channel, jobs: grpc.aio.Channel) -> list[Followed]:
    """The logs of the services behind these channels, in the order of ids."""
    return [
        Followed(
            0,
            "runs",
            _method(runs, "RunService/WatchRuns", runs_pb.WatchRunsResponse),
            runs_pb.WatchRunsRequest,
            told_of_run,
        ),
        Followed(
            1,
            "jobs",
            _method(jobs, "SimDataService/WatchJobs", jobs_pb.WatchJobsResponse),
            jobs_pb.WatchJobsRequest,
            told_of_job,
        ),
    ]


def told_of_run(change: Any) -> dict[str, str]:
    """What browsers are told of a run or result."""
    data = {
        "type": "delete" if change.kind == _Run.KIND_DELETE else "update",
        "object_type": _OBJECTS.get(change.object_type, "run"),
        "object_id": change.object_id,
    }
    if change.object_type == _Run.OBJECT_TYPE_RESULT:
        data["run_id"] = change.run_id
    return data


def told_of_job(change: Any) -> dict[str, str]:
    """What browsers are told of a job."""
    return {
        "type": "delete" if change.kind == _Job.KIND_DELETE else "update",
        "object_type": "job",
        "object_id": str(change.job_id),
    }


def _method(channel: grpc.aio.Channel, path: str, response: Any) -> Any:
    return channel.unary_stream(
        f"/gimle.asgard.v1.{path}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
