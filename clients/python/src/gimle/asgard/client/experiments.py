"""Experiments, their variations and the runs of those, at a service that keeps them.

experiments = Experiments("grpc://localhost:50051")
made = experiments.call("CreateExperiment", hypothesis_summary="damping helps")
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gimle.asgard.client.asking import PAGE, AskingByName
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import experiment_requests_pb2, variation_requests_pb2
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc

__all__ = ["Experiments"]


class Experiments(AskingByName):
    """ExperimentService."""

    stub = pb_grpc.ExperimentServiceStub
    protos = (experiment_requests_pb2, variation_requests_pb2)
    not_repeated = frozenset({"RecordFinding", "StartVariationRun"})

    def call(self, method: str, /, **fields: Any) -> Any:
        """Call an RPC of the service's proto. An experiment is made with an id of its own."""
        if method == "CreateExperiment" and not fields.get("experiment_id"):
            # A repeat is then known for one.
            fields["experiment_id"] = new_id(datetime.now(UTC))
        return super().call(method, **fields)

    def may_repeat(self, method: str, fields: dict[str, Any]) -> bool:
        """A variation without a number would get another one each time."""
        if method == "CreateVariation":
            return fields.get("variation") is not None
        return super().may_repeat(method, fields)

    def assets(self, method: str, /, **fields: Any) -> Iterator[Any]:
        """Every asset of a list of inputs or outputs."""
        after = ""
        while page := self.call(method, page_size=PAGE, after=after, **fields)["assets"]:
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1]["id"]
