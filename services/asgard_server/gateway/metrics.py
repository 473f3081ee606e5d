"""Numbers for Prometheus, of this gateway alone; /metrics adds those of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.types import ASGIApp

from asgard_server.gateway.answers import Answer, serve
from asgard_server.gateway.request import Request

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters of one gateway, in a registry of its own: a process may have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "asgard_http_requests",
            "Requests answered, by method, route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "asgard_http_request_seconds",
            "Seconds until an answer began, by route.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is a template, never a path: its values are few."""
        key = (method if method in _METHODS else "other", route, status)
        children = self._children.get(key)
        if children is None:
            children = (
                self._requests.labels(key[0], route, str(status)),
                self._seconds.labels(route),
            )
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for when it is read."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def gauges(
        self, name: str, text: str, label: str, of: Mapping[str, Callable[[], float]]
    ) -> None:
        """The same, one number for each value of a label."""
        gauge = Gauge(name, text, [label], registry=self.registry)
        for each, value in of.items():
            gauge.labels(each).set_function(value)

    async def show(self, request: Request) -> ASGIApp:
        """GET /metrics."""
        request.only()
        body = await asyncio.to_thread(
            lambda: generate_latest(self.registry) + generate_latest(REGISTRY)
        )
        return await serve(
            request,
            Answer(body, CONTENT_TYPE_PLAIN_0_0_4, headers={"cache-control": "no-store"}),
        )
