"""Experiments, their variations and the runs of those, at a service that keeps them.

experiments = Experiments("grpc://localhost:50051")
made = experiments.call("CreateExperiment", hypothesis_summary="damping helps")
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gimle.asgard.client.asking import PAGE, AskingByName
from gimle.asgard.v1 import experiment_requests_pb2, variation_requests_pb2
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc

__all__ = ["Experiments"]


class Experiments(AskingByName):
    """ExperimentService."""

    stub = pb_grpc.ExperimentServiceStub
    protos = (experiment_requests_pb2, variation_requests_pb2)
    not_repeated = frozenset({"RecordFinding", "StartVariationRun"})

    def assets(self, method: str, /, **fields: Any) -> Iterator[Any]:
        """Every asset of a list of inputs or outputs."""
        after = ""
        while page := self.call(method, page_size=PAGE, after=after, **fields)["assets"]:
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1]["id"]
