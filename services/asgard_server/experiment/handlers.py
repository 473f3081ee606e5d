# ruff: noqa: D102 - what each RPC does is said once, in experiment_service.proto
"""ExperimentService: each RPC is a straight line from request to who keeps experiments.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from gimle.asgard.v1 import experiment_requests_pb2 as pb
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc

from asgard_server.auth.callers import caller
from asgard_server.experiment import codec, lineage_codec, link_codec, variation_codec, wishes
from asgard_server.experiment.keeping import Keeper
from asgard_server.experiment.link_store import Which, Wish
from asgard_server.experiment.linking import Linker
from asgard_server.experiment.retracting import Retractor
from asgard_server.experiment.sharing import Sharer
from asgard_server.experiment.tracing import Tracer
from asgard_server.experiment.variation_handlers import VariationHandlers
from asgard_server.experiment.working import Floor
from asgard_server.rpc import pages
from asgard_server.rpc.fields import optional

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """Who does what is asked for."""

    keeper: Keeper
    sharer: Sharer
    linker: Linker
    retractor: Retractor
    tracer: Tracer
    floor: Floor


class ExperimentHandlers(VariationHandlers, pb_grpc.ExperimentServiceServicer):
    """The RPCs of ExperimentService."""

    def __init__(self, parts: Parts, clock: Callable[[], datetime]) -> None:
        super().__init__(parts.linker, parts.retractor, parts.floor)
        self._keeper = parts.keeper
        self._sharer = parts.sharer
        self._tracer = parts.tracer
        self._clock = clock

    # Experiments ------------------------------------------------------------------------

    async def CreateExperiment(
        self, request: pb.CreateExperimentRequest, context: Context
    ) -> pb.CreateExperimentResponse:
        by = caller()
        asked = wishes.experiment(
            codec.texts(request),
            request.experiment_id,
            codec.parents(request),
            by.sub,
            self._clock(),
            allow_retracted_parent=request.allow_retracted_parent,
            organization=request.organization_id,
            team=request.team_id,
            visibility=request.visibility,
        )
        made = await self._keeper.create(asked, by)
        return pb.CreateExperimentResponse(experiment=codec.experiment(made))

    async def GetExperiment(
        self, request: pb.GetExperimentRequest, context: Context
    ) -> pb.GetExperimentResponse:
        return codec.detail(await self._keeper.detail(request.experiment_id, caller()))

    async def ListExperiments(
        self, request: pb.ListExperimentsRequest, context: Context
    ) -> pb.ListExperimentsResponse:
        by, size = caller(), pages.size(request.page_size)
        status = codec.status_filter(request.status)
        listing = "\0".join(("experiments", status, request.owner, by.sub))
        behind = pages.place(request.page_token, listing)
        found = await self._keeper.page(by, status, request.owner, behind, size + 1)
        more = ""
        if len(found) > size:
            last = found[size - 1].experiment
            more = pages.place_token(listing, last.created_at, last.id)
        return pb.ListExperimentsResponse(
            experiments=map(codec.experiment, found[:size]), next_page_token=more
        )

    async def UpdateExperiment(
        self, request: pb.UpdateExperimentRequest, context: Context
    ) -> pb.UpdateExperimentResponse:
        parents = codec.parents(request.parents) if request.HasField("parents") else None
        made = await self._keeper.edit(
            request.experiment_id,
            codec.changed_texts(request),
            parents,
            caller(),
            allow_retracted_parent=request.allow_retracted_parent,
        )
        return pb.UpdateExperimentResponse(experiment=codec.experiment(made))

    async def DeleteExperiment(
        self, request: pb.DeleteExperimentRequest, context: Context
    ) -> pb.DeleteExperimentResponse:
        count = await self._keeper.delete(request.experiment_id, caller())
        return pb.DeleteExperimentResponse(experiment_id=request.experiment_id, links_removed=count)

    async def CommitExperiment(
        self, request: pb.CommitExperimentRequest, context: Context
    ) -> pb.CommitExperimentResponse:
        made, variations = await self._keeper.commit(
            request.experiment_id, dict(request.tentative_links), caller()
        )
        return pb.CommitExperimentResponse(
            experiment=codec.experiment(made), variations=map(variation_codec.variation, variations)
        )

    async def ConcludeExperiment(
        self, request: pb.ConcludeExperimentRequest, context: Context
    ) -> pb.ConcludeExperimentResponse:
        made = await self._keeper.conclude(request.experiment_id, request.on_exist_action, caller())
        return pb.ConcludeExperimentResponse(
            experiment=codec.experiment(made),
            takeaways_report_id=made.experiment.takeaways_id or "",
        )

    async def RetractExperiment(
        self, request: pb.RetractExperimentRequest, context: Context
    ) -> pb.RetractExperimentResponse:
        made, count = await self._retractor.experiment(
            request.experiment_id, request.reason, request.document_asset_id or None, caller()
        )
        return pb.RetractExperimentResponse(
            experiment=codec.experiment(made), invalidated_outputs=count
        )

    async def PreviewRetraction(
        self, request: pb.PreviewRetractionRequest, context: Context
    ) -> pb.PreviewRetractionResponse:
        variation = optional(request, "variation")
        return lineage_codec.preview(
            await self._retractor.preview(request.experiment_id, variation, caller())
        )

    async def RecordFinding(
        self, request: pb.RecordFindingRequest, context: Context
    ) -> pb.RecordFindingResponse:
        found = await self._keeper.find(
            request.experiment_id,
            request.status,
            request.summary,
            optional(request, "evidence_variation"),
            request.source_asset_id or None,
            caller(),
        )
        return pb.RecordFindingResponse(finding=codec.finding(found))

    # Inputs and outputs -----------------------------------------------------------------

    async def ListExperimentOutputs(
        self, request: pb.ListExperimentOutputsRequest, context: Context
    ) -> pb.ListExperimentOutputsResponse:
        which = Which(
            "output",
            variation=optional(request, "variation"),
            asset_type=request.asset_type,
            after=request.after,
        )
        size = pages.size(request.page_size, pages.MOST)
        found = await self._linker.assets(request.experiment_id, which, caller(), size)
        return pb.ListExperimentOutputsResponse(assets=map(link_codec.linked, found))

    async def ListExperimentInputs(
        self, request: pb.ListExperimentInputsRequest, context: Context
    ) -> pb.ListExperimentInputsResponse:
        which = Which("input", itself=True, after=request.after)
        size = pages.size(request.page_size, pages.MOST)
        found = await self._linker.assets(request.experiment_id, which, caller(), size)
        return pb.ListExperimentInputsResponse(assets=map(link_codec.linked, found))

    async def AddExperimentInputs(
        self, request: pb.AddExperimentInputsRequest, context: Context
    ) -> pb.AddExperimentInputsResponse:
        propagate = optional(request, "propagate_acl")
        wish = Wish(
            request.experiment_id,
            wishes.asset_ids(request.asset_ids),
            allow_invalid=request.allow_invalid_assets,
            propagate_acl=propagate is not False,
        )
        made = await self._linker.add(wish, caller())
        return pb.AddExperimentInputsResponse(
            assets=map(link_codec.linked, made.assets), warnings=link_codec.warnings(made.warnings)
        )

    async def RemoveExperimentInput(
        self, request: pb.RemoveExperimentInputRequest, context: Context
    ) -> pb.RemoveExperimentInputResponse:
        removed = await self._linker.remove(request.experiment_id, None, request.asset_id, caller())
        return pb.RemoveExperimentInputResponse(removed=removed)

    # Where it comes from, and where it leads to -----------------------------------------

    async def GetExperimentLineage(
        self, request: pb.GetExperimentLineageRequest, context: Context
    ) -> pb.GetExperimentLineageResponse:
        return lineage_codec.lineage(
            await self._tracer.lineage(
                request.experiment_id, request.direction, request.depth, caller()
            )
        )

    async def ListUpstreamRetractions(
        self, request: pb.ListUpstreamRetractionsRequest, context: Context
    ) -> pb.ListUpstreamRetractionsResponse:
        found, is_cut = await self._tracer.taken_back(
            request.experiment_id, request.depth, caller()
        )
        return lineage_codec.taken_back(found, is_cut=is_cut)

    # Who may do what --------------------------------------------------------------------

    async def MoveExperiment(
        self, request: pb.MoveExperimentRequest, context: Context
    ) -> pb.MoveExperimentResponse:
        organization = wishes.said(request.organization_id, "organization_id", 200)
        made = await self._sharer.move(
            request.experiment_id, organization, request.team_id, request.visibility, caller()
        )
        return pb.MoveExperimentResponse(experiment=codec.experiment(made))

    async def GrantExperimentAccess(
        self, request: pb.GrantExperimentAccessRequest, context: Context
    ) -> pb.GrantExperimentAccessResponse:
        principal = wishes.said(request.principal_id, "principal_id", 200)
        made, added = await self._sharer.grant(
            request.experiment_id, principal, codec.action(request.action), caller()
        )
        return pb.GrantExperimentAccessResponse(grant=codec.grant(made), added=added)

    async def RevokeExperimentAccess(
        self, request: pb.RevokeExperimentAccessRequest, context: Context
    ) -> pb.RevokeExperimentAccessResponse:
        principal = wishes.said(request.principal_id, "principal_id", 200)
        removed = await self._sharer.revoke(
            request.experiment_id, principal, codec.action(request.action), caller()
        )
        return pb.RevokeExperimentAccessResponse(removed=removed)

    async def ListExperimentAccess(
        self, request: pb.ListExperimentAccessRequest, context: Context
    ) -> pb.ListExperimentAccessResponse:
        found = await self._sharer.grants(request.experiment_id, caller())
        return pb.ListExperimentAccessResponse(grants=map(codec.grant, found))

    async def SetExperimentVisibility(
        self, request: pb.SetExperimentVisibilityRequest, context: Context
    ) -> pb.SetExperimentVisibilityResponse:
        made = await self._sharer.set_visibility(
            request.experiment_id, request.visibility, caller()
        )
        return pb.SetExperimentVisibilityResponse(experiment=codec.experiment(made))
