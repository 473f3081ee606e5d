"""What clients of one service have in common: a connection, and calls by the names of the proto."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Self

from gimle.asgard.client.attempts import Passing
from gimle.asgard.client.connection import CALL_SECONDS, PATIENCE_SECONDS, Connection
from gimle.asgard.client.errors import PASSING
from gimle.asgard.client.shown import shown

__all__ = ["Asking", "AskingByName"]

PAGE = 1_000


class Asking:
    """A client of the service at `where`: "grpc://host:port", or "grpcs://host:port" for TLS.

    patience: for how many seconds calls that fail in passing are repeated. timeout: how many
    seconds each may take. Thread-safe.
    """

    stub: ClassVar[Any]
    passing: ClassVar[Passing] = PASSING

    def __init__(
        self, where: str, *, patience: float = PATIENCE_SECONDS, timeout: float = CALL_SECONDS
    ) -> None:
        self._connection = Connection(
            where, patience=patience, timeout=timeout, service=self.stub, passing=self.passing
        )

    def __enter__(self) -> Self:
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


class AskingByName(Asking):
    """A client whose calls are named as in the proto, and answered as REST shows them.

    Methods raise StorageUnavailableError when the service cannot be asked, and what is refused as
    `core.errors` and its neighbours say.
    """

    protos: ClassVar[tuple[ModuleType, ...]]
    # A repeat of these does it again.
    not_repeated: ClassVar[frozenset[str]] = frozenset()

    def call(self, method: str, /, **fields: Any) -> Any:
        """Call an RPC of the service's proto."""
        name = f"{method}Request"
        proto = next(each for each in self.protos if hasattr(each, name))
        patience = None if self.may_repeat(method, fields) else 0.0
        request = getattr(proto, name)(**fields)
        return shown(self._connection.call(method, request, patience=patience))

    def may_repeat(self, method: str, fields: dict[str, Any]) -> bool:
        """Whether the same call again does no more than once."""
        return method not in self.not_repeated

    def all(self, method: str, name: str, /, **fields: Any) -> Iterator[Any]:
        """Every element of a list, `name` being what its pages call them."""
        token = ""
        while True:
            page = self.call(method, page_size=PAGE, page_token=token, **fields)
            yield from page[name]
            token = page["next_page_token"]
            if not token:
                return
