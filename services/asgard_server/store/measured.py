"""How long the engines take and how often they fail, seen at the ports, whichever they are."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar, cast

from gimle.asgard.core.errors import (
    AsgardError,
    DocumentError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from prometheus_client import Counter

from asgard_server.histograms import Histogram
from asgard_server.run.store import RevisionGoneError

Port = TypeVar("Port")

STORE_SECONDS = Histogram("asgard_store_seconds", "How long engines took.", ["store", "operation"])
STORE_ERRORS = Counter(
    "asgard_store_errors", "Operations that an engine failed in.", ["store", "operation"]
)

# What a store answers about the thing asked for (not found, taken, changed) is no failure of it.
_ANSWERS = (AsgardError, RevisionGoneError)
_FAILURES = (StorageUnavailableError, StorageFullError, StorageReadOnlyError, DocumentError)


def measured(engine: Port, store: Literal["documents", "index"], *ports: type[Any]) -> Port:
    """The engine, its operations counted and timed: the asynchronous methods of `ports`.

    Everything else of it is as it was. To be used from one event loop.
    """
    return cast(Port, _Measured(engine, store, ports))


class _Measured:
    def __init__(self, engine: Any, store: str, ports: tuple[type[Any], ...]) -> None:
        self._engine = engine
        for port in ports:
            for name, _ in inspect.getmembers(port, inspect.iscoroutinefunction):
                if not name.startswith("_"):
                    setattr(self, name, _timed(getattr(engine, name), store, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _timed(
    method: Callable[..., Awaitable[Any]], store: str, operation: str
) -> Callable[..., Awaitable[Any]]:
    seconds = STORE_SECONDS.series(store, operation)
    errors = STORE_ERRORS.labels(store, operation)
    now = time.perf_counter

    async def timed(*arguments: Any, **named: Any) -> Any:
        started = now()
        try:
            return await method(*arguments, **named)
        except Exception as error:
            if isinstance(error, _FAILURES) or not isinstance(error, _ANSWERS):
                errors.inc()
            raise
        finally:
            seconds.observe(now() - started)

    return timed
