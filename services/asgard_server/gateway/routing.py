"""Which handler answers a path: one table for every endpoint of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp

from asgard_server.gateway.problems import invalid, unknown_path, wrong_method
from asgard_server.gateway.request import Request
from asgard_server.gateway.templates import Template, UndecodablePath, compile_template, decoded

Handler = Callable[[Request], Awaitable[ASGIApp]]


@dataclass(slots=True)
class _Resource:
    """A path, and what its methods do."""

    order: tuple[int, ...]
    methods: dict[str, tuple[Template, Handler]] = field(default_factory=dict)

    def allowed(self) -> list[str]:
        heads = ["HEAD"] if "GET" in self.methods else []
        return sorted([*self.methods, *heads])


class Routes:
    """A table of routes. Literal paths are one lookup, others are tried in order.

    `fallback` is asked for what is nowhere in the table, with the whole path below
    the root as the variable `path`.
    """

    def __init__(self, fallback: Handler | None = None) -> None:
        self._fallback = fallback
        self._literal: dict[str, _Resource] = {}
        self._others: dict[str, _Resource] = {}
        self._ordered: list[_Resource] = []

    def add(self, method: str, template_text: str, handler: Handler) -> None:
        """Add a route. Raises `ValueError` for one that is there already."""
        template = compile_template(template_text)
        table = self._others if template.variables or "*" in template.shape else self._literal
        resource = table.setdefault(template.shape, _Resource(template.rank))
        if method in resource.methods:
            raise ValueError(f"{method} {template_text} is routed twice")
        resource.methods[method] = (template, handler)
        self._ordered = sorted(self._others.values(), key=lambda r: r.order)

    def find(self, request: Request, raw_path: str) -> tuple[str, Handler]:
        """Template and handler of a request, whose `variables` are set.

        Raises `Problem` 404, 405 or 400.
        """
        resource = self._literal.get(raw_path)
        method = "GET" if request.method == "HEAD" else request.method
        if resource is not None:
            return self._handler(resource, method, request, raw_path)
        for resource in self._ordered:
            template = next(iter(resource.methods.values()))[0]
            if template.pattern.fullmatch(raw_path):
                return self._handler(resource, method, request, raw_path)
        if self._fallback is None or method != "GET":
            raise unknown_path(_shown(raw_path))
        try:
            request.variables = {"path": decoded(raw_path.lstrip("/"))}
        except UndecodablePath as error:
            raise invalid("", str(error)) from error
        return "(files)", self._fallback

    def _handler(
        self, resource: _Resource, method: str, request: Request, raw_path: str
    ) -> tuple[str, Handler]:
        found = resource.methods.get(method)
        if found is None:
            raise wrong_method(request.method, _shown(raw_path), resource.allowed())
        template, handler = found
        try:
            request.variables = template.match(raw_path) or {}
        except UndecodablePath as error:
            raise invalid("", str(error)) from error
        return template.text, handler


def _shown(raw_path: str) -> str:
    return raw_path if len(raw_path) <= 200 else f"{raw_path[:200]}..."
