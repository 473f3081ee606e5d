"""Experiments, their variations and the runs of those, at a service that keeps them.

experiments = Experiments("grpc://localhost:50051")
made = experiments.call("CreateExperiment", hypothesis_summary="damping helps")
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from gimle.asgard.client.connection import CALL_SECONDS, PATIENCE_SECONDS, Connection
from gimle.asgard.client.shown import shown
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import experiment_requests_pb2, variation_requests_pb2
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc

__all__ = ["Experiments"]

_PAGE = 1_000
# A repeat of these does it again.
_NOT_REPEATED = frozenset({"RecordFinding", "StartVariationRun"})


class Experiments:
    """ExperimentService at `where`: "grpc://host:port", or "grpcs://host:port" for TLS.

    Answers are dictionaries with the names and words that REST has. Methods raise
    StorageUnavailableError when the service cannot be asked, and what is refused as
    `core.experiment_errors` and `core.errors` say. Thread-safe.
    """

    def __init__(
        self, where: str, *, patience: float = PATIENCE_SECONDS, timeout: float = CALL_SECONDS
    ) -> None:
        self._connection = Connection(
            where, patience=patience, timeout=timeout, service=pb_grpc.ExperimentServiceStub
        )

    def __enter__(self) -> Experiments:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. It opens again when needed."""
        self._connection.close()

    def call(self, method: str, /, **fields: Any) -> Any:
        """Call an RPC of experiment_service.proto."""
        name = f"{method}Request"
        found = hasattr(experiment_requests_pb2, name)
        module: Any = experiment_requests_pb2 if found else variation_requests_pb2
        request = getattr(module, name)(**fields)
        if method == "CreateExperiment" and not request.experiment_id:
            # A repeat is then known for one.
            request.experiment_id = new_id(datetime.now(UTC))
        patience = None if _may_be_repeated(method, request) else 0.0
        return shown(self._connection.call(method, request, patience=patience))

    def all(self, **fields: Any) -> Iterator[Any]:
        """Every experiment of a list, newest first."""
        token = ""
        while True:
            page = self.call("ListExperiments", page_size=_PAGE, page_token=token, **fields)
            yield from page["experiments"]
            token = page["next_page_token"]
            if not token:
                return

    def assets(self, method: str, /, **fields: Any) -> Iterator[Any]:
        """Every asset of a list of inputs or outputs."""
        after = ""
        while page := self.call(method, page_size=_PAGE, after=after, **fields)["assets"]:
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1]["id"]


def _may_be_repeated(method: str, request: Any) -> bool:
    """Whether a repeat does nothing more; one of a variation without its number adds another."""
    if method == "CreateVariation":
        return bool(request.HasField("variation"))
    return method not in _NOT_REPEATED
