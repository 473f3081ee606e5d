"""What a process of RunService says of itself and of what it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from grpc_health.v1 import health_pb2

from asgard_server.processes.engines import Engines
from asgard_server.processes.metrics_server import Readiness
from asgard_server.rpc.server import Health
from asgard_server.run.scan import Noticer

DEPENDENCIES = ("documents", "index", "bell")
"""Names that the health service knows beside those of services."""
_NEEDED = ("documents", "index")

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 3.0
_said = health_pb2.HealthCheckResponse


class Dependencies:
    """Looks at documents, index and bell once a second, and says so to the health service.

    A bell that is away makes changes late, not wrong, and so does an index without room, whose
    service is the one to delete through: the service goes on serving.
    """

    def __init__(self, engines: Engines, noticer: Noticer, health: Health) -> None:
        self._engines = engines
        self._noticer = noticer
        self._health = health
        self._problems = dict.fromkeys(DEPENDENCIES, "")
        self._draining = False

    def drain(self) -> None:
        """Say that this process is about to end."""
        self._draining = True

    async def readiness(self) -> Readiness:
        """What /readyz answers: of the last look."""
        states = self._states()
        if self._draining:
            return Readiness("this process is stopping", states)
        return Readiness("; ".join(self._refusals()), states)

    def _refusals(self) -> list[str]:
        """Why no requests are taken."""
        problem = self._noticer.problem
        said = [f"{name}: {self._problems[name]}" for name in _NEEDED if self._problems[name]]
        return said or ([] if problem is None else [str(problem)])

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Look once."""
        self._problems = {
            "documents": await self._of_documents(),
            "index": await self._of_index(),
            "bell": self._engines.bell_problem(),
        }
        for name, state in self._states().items():
            await self._health.servicer.set(name, _said.ServingStatus.Value(state))
        await self._health.set(not self._refusals())

    def _states(self) -> dict[str, str]:
        """Of each dependency. An index that has no room is reached, and does not serve."""
        troubled = {name for name, problem in self._problems.items() if problem}
        if self._noticer.full is not None:
            troubled.add("index")
        return {name: "NOT_SERVING" if name in troubled else "SERVING" for name in DEPENDENCIES}

    async def _of_documents(self) -> str:
        if self._noticer.problem is None:
            return ""
        # It may be the index that is away: then the place itself answers.
        return await _problem_of(self._engines.documents.check())

    async def _of_index(self) -> str:
        return await _problem_of(self._engines.index.head())


class Dependency:
    """Looks once a second at the one thing a service needs, and says so to the health service."""

    def __init__(self, name: str, check: Callable[[], Awaitable[None]], health: Health) -> None:
        self._name = name
        self._check = check
        self._health = health
        self._problem = ""
        self._draining = False

    def drain(self) -> None:
        """Say that this process is about to end."""
        self._draining = True

    def readiness(self) -> Readiness:
        """What /readyz answers: of the last look."""
        states = {self._name: "NOT_SERVING" if self._problem else "SERVING"}
        if self._draining:
            return Readiness("this process is stopping", states)
        return Readiness(self._problem and f"{self._name}: {self._problem}", states)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Look once."""
        self._problem = await _problem_of(self._check())
        status = _said.NOT_SERVING if self._problem else _said.SERVING
        await self._health.servicer.set(self._name, status)
        await self._health.set(not self._problem)


async def _problem_of(asking: Awaitable[object]) -> str:
    """Why an engine does not answer what it is asked; empty when it does."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await asking
    except TimeoutError:
        return f"no answer within {_ANSWER_SECONDS:g} seconds"
    except Exception as error:  # noqa: BLE001 - whatever it is, this is where it is told
        return str(error) or type(error).__name__
    return ""
