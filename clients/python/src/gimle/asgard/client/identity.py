"""Users, organisations, teams and API keys, at a service that knows them.

identity = Identity("grpc://localhost:50051")
identity.call("CreateOrganization", slug="acme", name="Acme")
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from gimle.asgard.client.connection import CALL_SECONDS, PATIENCE_SECONDS, Connection
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import options_pb2
from google.protobuf.message import Message

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
        return document(self._connection.call(method, request, patience=patience))

    def all(self, method: str, name: str, /, **fields: Any) -> Iterator[Any]:
        """Every element of a list, `name` being what its pages call them."""
        token = ""
        while True:
            page = self.call(method, page_size=_PAGE, page_token=token, **fields)
            yield from page[name]
            token = page["next_page_token"]
            if not token:
                return


def document(message: Message) -> dict[str, Any]:
    """A message as REST shows it."""
    shown: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name = field.GetOptions().Extensions[options_pb2.json_name_in_documents] or field.name
        value = getattr(message, field.name)
        if field.is_repeated:
            shown[name] = [_value(field, each) for each in value]
        elif field.has_presence and not message.HasField(field.name):
            shown[name] = None
        else:
            shown[name] = _value(field, value)
    return shown


def _value(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        word = str(field.enum_type.values_by_number[value].name)
        return word.removeprefix(_prefix(field.enum_type.name)).lower() if value else None
    if field.message_type is None:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return value.ToJsonString()
    return document(value)


def _prefix(name: str) -> str:
    snake = "".join(f"_{each}" if each.isupper() else each for each in name)
    return f"{snake.lstrip('_').upper()}_"
