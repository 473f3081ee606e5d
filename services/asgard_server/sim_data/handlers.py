# ruff: noqa: D102 - what each RPC does is said once, in sim_data_service.proto
"""SimDataService: each RPC is a straight line from request to the keeper or the floor.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import grpc
from gimle.asgard.v1 import sim_data_service_pb2 as pb
from gimle.asgard.v1 import sim_data_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import watch_jobs_pb2 as watch_pb
from google.api.httpbody_pb2 import HttpBody

from asgard_server.auth.callers import caller
from asgard_server.rpc.fields import optional
from asgard_server.sim_data import codec, pages
from asgard_server.sim_data.domain import Caller
from asgard_server.sim_data.keeping import Keeper
from asgard_server.sim_data.watch import JobWatch
from asgard_server.sim_data.working import Floor

Context = grpc.aio.ServicerContext[Any, Any]


def identified_caller(context: Context) -> Caller:
    """Who calls: services are service callers, and the local user is one, too."""
    principal = caller()
    return Caller(principal.sub, is_service=principal.sees_everything)


class SimDataHandlers(pb_grpc.SimDataServiceServicer):
    """The RPCs of SimDataService. `caller_of` says who calls."""

    def __init__(
        self,
        keeper: Keeper,
        floor: Floor,
        watch: JobWatch,
        clock: Callable[[], datetime],
        caller_of: Callable[[Context], Caller] = identified_caller,
    ) -> None:
        self._keeper = keeper
        self._floor = floor
        self._watch = watch
        self._clock = clock
        self._caller = caller_of

    # Owners ---------------------------------------------------------------------------

    async def CreateJob(
        self, request: pb.CreateJobRequest, context: Context
    ) -> pb.CreateJobResponse:
        job = await self._keeper.create(self._caller(context), codec.wish(request))
        return pb.CreateJobResponse(job=codec.job_message(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        caller, size = self._caller(context), pages.size(request.page_size)
        behind = pages.behind(request.page_token, caller.user_id)
        skip = pages.skipped(request.page, size, request.page_token)
        found, total = await self._keeper.page(caller, behind, skip, size + 1)
        more = pages.token(caller.user_id, found[size - 1]) if len(found) > size else ""
        return pb.ListJobsResponse(
            jobs=map(codec.summary, found[:size]), next_page_token=more, total=total
        )

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        job = await self._keeper.job(self._caller(context), request.job_id)
        return pb.GetJobResponse(job=codec.job_message(job))

    async def GetSimData(
        self, request: pb.GetSimDataRequest, context: Context
    ) -> pb.GetSimDataResponse:
        files = await self._keeper.download_urls(self._caller(context), request.job_id)
        return pb.GetSimDataResponse(job_id=request.job_id, files=files)

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:
        job = await self._keeper.retry(self._caller(context), request.job_id)
        return pb.RetryJobResponse(job=codec.job_message(job))

    async def DeleteJob(
        self, request: pb.DeleteJobRequest, context: Context
    ) -> pb.DeleteJobResponse:
        await self._keeper.delete(self._caller(context), request.job_id)
        return pb.DeleteJobResponse()

    async def CreateDraft(
        self, request: pb.CreateDraftRequest, context: Context
    ) -> pb.CreateDraftResponse:
        job = await self._keeper.create_draft(self._caller(context), codec.draft_wish(request))
        return pb.CreateDraftResponse(job=codec.job_message(job))

    async def UpdateDraft(
        self, request: pb.UpdateDraftRequest, context: Context
    ) -> pb.UpdateDraftResponse:
        caller = self._caller(context)
        job = await self._keeper.edit(caller, request.job_id, codec.draft_wish(request))
        return pb.UpdateDraftResponse(job=codec.job_message(job))

    async def LaunchDraft(
        self, request: pb.LaunchDraftRequest, context: Context
    ) -> pb.LaunchDraftResponse:
        job = await self._keeper.launch(self._caller(context), request.job_id)
        return pb.LaunchDraftResponse(job=codec.job_message(job))

    async def CreateShareLink(
        self, request: pb.CreateShareLinkRequest, context: Context
    ) -> pb.CreateShareLinkResponse:
        token = await self._keeper.share(self._caller(context), request.job_id)
        return pb.CreateShareLinkResponse(share_token=token, share_url=f"/s/{token}")

    async def DeleteShareLink(
        self, request: pb.DeleteShareLinkRequest, context: Context
    ) -> pb.DeleteShareLinkResponse:
        await self._keeper.unshare(self._caller(context), request.job_id)
        return pb.DeleteShareLinkResponse()

    async def GetSharedJob(
        self, request: pb.GetSharedJobRequest, context: Context
    ) -> pb.GetSharedJobResponse:
        job = await self._keeper.shared(request.share_token)
        return pb.GetSharedJobResponse(job=codec.shared(job))

    async def GetReport(
        self, request: pb.GetReportRequest, context: Context
    ) -> pb.GetReportResponse:
        text = await self._keeper.report(self._caller(context), request.job_id)
        body = HttpBody(content_type="text/markdown; charset=utf-8", data=text.encode())
        return pb.GetReportResponse(body=body)

    # Workers --------------------------------------------------------------------------

    async def ClaimJob(self, request: pb.ClaimJobRequest, context: Context) -> pb.ClaimJobResponse:
        given = await self._floor.claim(
            self._caller(context),
            optional(request, "job_id"),
            request.worker,
            codec.seconds(request),
        )
        return pb.ClaimJobResponse(
            job=codec.job_message(given.job),
            lease_token=given.job.lease_token or "",
            uploads=codec.uploads(given, self._clock()),
        )

    async def RenewJob(self, request: pb.RenewJobRequest, context: Context) -> pb.RenewJobResponse:
        job = await self._floor.renew(
            self._caller(context),
            request.job_id,
            request.lease_token,
            codec.seconds(request),
            status=codec.said_status(request),
            pipeline_stage=optional(request, "pipeline_stage"),
            live_status_json=codec.live_status(request),
        )
        return pb.RenewJobResponse(job=codec.job_message(job))

    async def CompleteJob(
        self, request: pb.CompleteJobRequest, context: Context
    ) -> pb.CompleteJobResponse:
        job = await self._floor.complete(
            self._caller(context),
            request.job_id,
            request.lease_token,
            codec.produced(request),
            key_insight=optional(request, "key_insight"),
            result_structured_json=codec.json_of(request, "result_structured"),
            markets_config_json=codec.json_of(request, "markets_config"),
        )
        return pb.CompleteJobResponse(job=codec.job_message(job))

    async def FailJob(self, request: pb.FailJobRequest, context: Context) -> pb.FailJobResponse:
        job = await self._floor.fail(
            self._caller(context), request.job_id, request.lease_token, request.error
        )
        return pb.FailJobResponse(job=codec.job_message(job))

    async def ResumeJob(
        self, request: pb.ResumeJobRequest, context: Context
    ) -> pb.ResumeJobResponse:
        given = await self._floor.resume(self._caller(context), request.job_id)
        return pb.ResumeJobResponse(
            job=codec.job_message(given.job), uploads=codec.uploads(given, self._clock())
        )

    # Watchers -------------------------------------------------------------------------

    async def WatchJobs(
        self, request: watch_pb.WatchJobsRequest, context: Context
    ) -> AsyncIterator[Any]:
        """Yields serialised responses: each change is encoded once for all watchers."""
        snapshot = request.start == watch_pb.WatchJobsRequest.START_SNAPSHOT
        async for message in self._watch.tell(
            caller(), snapshot=snapshot, token=request.resume_token
        ):
            yield message
