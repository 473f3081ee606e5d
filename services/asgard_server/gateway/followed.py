"""The change logs that a gateway follows for its browsers: those of runs, of jobs and of assets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from gimle.asgard.v1 import run_service_pb2 as runs_pb
from gimle.asgard.v1 import watch_assets_pb2 as assets_pb
from gimle.asgard.v1 import watch_jobs_pb2 as jobs_pb

from asgard_server.gateway.told import Told, told_of_asset, told_of_job, told_of_run

_PACKAGE = "gimle.asgard.v1."
RUNS, JOBS, ASSETS = (
    f"{_PACKAGE}{name}" for name in ("RunService", "SimDataService", "AssetService")
)


class Followed:
    """A log that is watched, and how far.

    `number` is its place in ids, `told` what is told of a change, and to whom. `token` is empty
    while its service has not said where now is; `lost`: some changes may have been missed since
    browsers were told that they are connected; `tried`: it has answered, or failed to.
    """

    def __init__(
        self,
        number: int,
        name: str,
        watch: Any,
        request: type[Any],
        told: Callable[[Any], Told],
    ) -> None:
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


def followed(channel_to: Mapping[str, grpc.aio.Channel]) -> list[Followed]:
    """The logs of the services behind these channels, by the services' names, as they stand in ids.

    A new one goes to the end: ids that browsers hold name those before it.
    """
    return [
        Followed(number, name, _method(channel_to[service], service, method, pb), asked, told)
        for number, (name, service, method, pb, asked, told) in enumerate(
            (
                (
                    *("runs", RUNS, "WatchRuns"),
                    *(runs_pb.WatchRunsResponse, runs_pb.WatchRunsRequest, told_of_run),
                ),
                (
                    *("jobs", JOBS, "WatchJobs"),
                    *(jobs_pb.WatchJobsResponse, jobs_pb.WatchJobsRequest, told_of_job),
                ),
                (
                    *("assets", ASSETS, "WatchAssets"),
                    *(assets_pb.WatchAssetsResponse, assets_pb.WatchAssetsRequest, told_of_asset),
                ),
            )
        )
    ]


def _method(channel: grpc.aio.Channel, service: str, method: str, response: Any) -> Any:
    return channel.unary_stream(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
