# ruff: noqa: D102 - what each RPC does is said once, in experiment_service.proto
"""The RPCs of ExperimentService that are about variations and their runs."""

from __future__ import annotations

from typing import Any

import grpc
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import variation_requests_pb2 as pb

from asgard_server.auth.callers import caller
from asgard_server.experiment import leases, link_codec, wishes
from asgard_server.experiment import variation_codec as codec
from asgard_server.experiment.link_store import Which, Wish
from asgard_server.experiment.linking import Linker
from asgard_server.experiment.retracting import Retractor
from asgard_server.experiment.working import Floor
from asgard_server.rpc import pages

Context = grpc.aio.ServicerContext[Any, Any]


class VariationHandlers(pb_grpc.ExperimentServiceServicer):
    """A part of ExperimentService."""

    def __init__(self, linker: Linker, retractor: Retractor, floor: Floor) -> None:
        self._linker = linker
        self._retractor = retractor
        self._floor = floor

    async def CreateVariation(
        self, request: pb.CreateVariationRequest, context: Context
    ) -> pb.CreateVariationResponse:
        inputs = wishes.asset_ids(request.input_asset_ids, "input_asset_ids", least=0)
        made, warned = await self._linker.vary(
            request.experiment_id, codec.new_variation(request, inputs), caller()
        )
        return pb.CreateVariationResponse(
            variation=codec.variation(made), warnings=link_codec.warnings(warned)
        )

    async def GetVariation(
        self, request: pb.GetVariationRequest, context: Context
    ) -> pb.GetVariationResponse:
        found, runs = await self._linker.variation(
            request.experiment_id, request.variation, caller(), pages.MOST
        )
        return pb.GetVariationResponse(variation=codec.variation(found), runs=map(codec.run, runs))

    async def RetractVariation(
        self, request: pb.RetractVariationRequest, context: Context
    ) -> pb.RetractVariationResponse:
        made, count = await self._retractor.variation(
            request.experiment_id, request.variation, request.reason, caller()
        )
        return pb.RetractVariationResponse(
            variation=codec.variation(made), invalidated_outputs=count
        )

    async def ResumeVariation(
        self, request: pb.ResumeVariationRequest, context: Context
    ) -> pb.ResumeVariationResponse:
        made = await self._floor.resume(request.experiment_id, request.variation, caller())
        return pb.ResumeVariationResponse(run=codec.run(made))

    async def ListVariationInputs(
        self, request: pb.ListVariationInputsRequest, context: Context
    ) -> pb.ListVariationInputsResponse:
        which = Which("input", variation=request.variation, after=request.after)
        size = pages.size(request.page_size, pages.MOST)
        found = await self._linker.assets(request.experiment_id, which, caller(), size)
        return pb.ListVariationInputsResponse(assets=map(link_codec.linked, found))

    async def AddVariationInputs(
        self, request: pb.AddVariationInputsRequest, context: Context
    ) -> pb.AddVariationInputsResponse:
        wish = Wish(
            request.experiment_id,
            wishes.asset_ids(request.asset_ids),
            request.variation,
            allow_invalid=request.allow_invalid_assets,
        )
        made = await self._linker.add(wish, caller())
        return pb.AddVariationInputsResponse(
            assets=map(link_codec.linked, made.assets), warnings=link_codec.warnings(made.warnings)
        )

    async def RemoveVariationInput(
        self, request: pb.RemoveVariationInputRequest, context: Context
    ) -> pb.RemoveVariationInputResponse:
        removed = await self._linker.remove(
            request.experiment_id, request.variation, request.asset_id, caller()
        )
        return pb.RemoveVariationInputResponse(removed=removed)

    # Runs -------------------------------------------------------------------------------

    async def GetVariationRun(
        self, request: pb.GetVariationRunRequest, context: Context
    ) -> pb.GetVariationRunResponse:
        found = await self._floor.find(codec.place(request), caller())
        return pb.GetVariationRunResponse(run=codec.run(found))

    async def StartVariationRun(
        self, request: pb.StartVariationRunRequest, context: Context
    ) -> pb.StartVariationRunResponse:
        wandb = leases.wandb(
            request.wandb_run_id,
            request.wandb_entity,
            request.wandb_project,
            request.wandb_dashboard_url,
        )
        made = await self._floor.start(
            codec.place(request),
            request.worker,
            codec.lease_seconds(request),
            wandb,
            caller(),
        )
        return pb.StartVariationRunResponse(
            run=codec.run(made.run),
            lease_token=made.run.lease_token or "",
            wandb_asset_id=made.wandb_asset_id,
        )

    async def HeartbeatVariationRun(
        self, request: pb.HeartbeatVariationRunRequest, context: Context
    ) -> pb.HeartbeatVariationRunResponse:
        found = await self._floor.beat(codec.place(request), request.lease_token, caller())
        return pb.HeartbeatVariationRunResponse(run=codec.run(found))

    async def SucceedVariationRun(
        self, request: pb.SucceedVariationRunRequest, context: Context
    ) -> pb.SucceedVariationRunResponse:
        found = await self._floor.end(
            codec.place(request), "succeeded", "", request.lease_token, caller()
        )
        return pb.SucceedVariationRunResponse(run=codec.run(found))

    async def FailVariationRun(
        self, request: pb.FailVariationRunRequest, context: Context
    ) -> pb.FailVariationRunResponse:
        status = codec.failed_status(request.status)
        found = await self._floor.end(
            codec.place(request), status, request.reason, request.lease_token, caller()
        )
        return pb.FailVariationRunResponse(run=codec.run(found))

    async def ListRunOutputs(
        self, request: pb.ListRunOutputsRequest, context: Context
    ) -> pb.ListRunOutputsResponse:
        size = pages.size(request.page_size, pages.MOST)
        found = await self._linker.run_assets(
            request.experiment_id, link_codec.run_outputs(request), request.run, caller(), size
        )
        return pb.ListRunOutputsResponse(assets=map(link_codec.linked, found))
