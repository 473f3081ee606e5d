"""What Experiments repeats when a service fails in passing, at a service that does so once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from gimle.asgard.client.experiments import Experiments
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.v1 import experiment_requests_pb2 as requests
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import variation_requests_pb2 as variations


class FailsFirst(pb_grpc.ExperimentServiceServicer):
    """Does what it is asked, but loses its first answer."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def CreateExperiment(self, request: Any, context: Any) -> Any:
        self._lose(request, context)
        return requests.CreateExperimentResponse()

    def CreateVariation(self, request: Any, context: Any) -> Any:
        self._lose(request, context)
        return variations.CreateVariationResponse()

    def _lose(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        if len(self.asked) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "lost")


@pytest.fixture
def service() -> Iterator[tuple[FailsFirst, Experiments]]:
    server = grpc.server(ThreadPoolExecutor(2))
    fails = FailsFirst()  # type: ignore[abstract]  # of all RPCs those that are called
    pb_grpc.add_ExperimentServiceServicer_to_server(fails, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Experiments(f"grpc://127.0.0.1:{port}", patience=60) as experiments:
        yield fails, experiments
    server.stop(0).wait()


def test_an_experiment_is_asked_for_again_under_the_id_it_was_asked_for_first(
    service: tuple[FailsFirst, Experiments],
) -> None:
    fails, experiments = service
    experiments.call("CreateExperiment", hypothesis_summary="it holds")
    first, again = fails.asked
    assert first == again
    assert first.experiment_id


def test_a_variation_is_asked_for_again_only_with_its_number(
    service: tuple[FailsFirst, Experiments],
) -> None:
    fails, experiments = service
    with pytest.raises(StorageUnavailableError, match="lost"):
        experiments.call("CreateVariation", experiment_id="e")
    assert len(fails.asked) == 1
    fails.asked.clear()
    experiments.call("CreateVariation", experiment_id="e", variation=0)
    assert len(fails.asked) == 2
