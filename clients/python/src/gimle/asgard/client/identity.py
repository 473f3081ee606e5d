"""Users, organisations, teams and API keys, at a service that knows them.

identity = Identity("grpc://localhost:50051")
identity.call("CreateOrganization", slug="acme", name="Acme")
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from gimle.asgard.client.connection import CALL_SECONDS, PATIENCE_SECONDS, Connection
from gimle.asgard.client.shown import shown
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc

__all__ = ["Identity"]

_PAGE = 1_000


class Identity:
    """IdentityService at `where`: "grpc://host:port", or "grpcs://host:port" for TLS.

    Answers are dictionaries with the names and words that REST has. Methods raise
    StorageUnavailableError when the service cannot be asked, and what is refused as
    `core.access_errors` and `core.errors` say. Thread-safe.
    """

    def __init__(
        self, where: str, *, patience: float = PATIENCE_SECONDS, timeout: float = CALL_SECONDS
    ) -> None:
        self._connection = Connection(
            where, patience=patience, timeout=timeout, service=pb_grpc.IdentityServiceStub
        )

    def __enter__(self) -> Identity:
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
        """Call an RPC of identity_service.proto."""
        request = getattr(pb, f"{method}Request")(**fields)
        # Each call of this one makes another key: it is not repeated.
        patience = 0.0 if method == "CreateApiKey" else None
        return shown(self._connection.call(method, request, patience=patience))

    def all(self, method: str, name: str, /, **fields: Any) -> Iterator[Any]:
        """Every element of a list, `name` being what its pages call them."""
        token = ""
        while True:
            page = self.call(method, page_size=_PAGE, page_token=token, **fields)
            yield from page[name]
            token = page["next_page_token"]
            if not token:
                return
