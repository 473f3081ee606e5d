"""The whole document: an operation for each binding, and the documented endpoints."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.types import ASGIApp

from asgard_server.gateway.answers import Answer, serve
from asgard_server.gateway.decode import Decoders
from asgard_server.gateway.openapi import documented, errors, jobs, security
from asgard_server.gateway.openapi.messages import Messages
from asgard_server.gateway.openapi.operations import VARIABLE, operation
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler
from asgard_server.gateway.schema import Schema
from asgard_server.gateway.transcode import Asks

Json = dict[str, Any]


def document(described: Schema, version: str, *, asks: bool = True) -> Json:
    """Write the document; `asks`: whether this server asks everybody who they are."""
    messages = Messages(described)
    decoders = Decoders()
    paths: dict[str, Json] = {}
    for rpc in described.rpcs:
        for binding in rpc.bindings:
            path = VARIABLE.sub(r"{\1}", binding.template)
            made = operation(rpc, binding, Asks(rpc, binding, decoders), messages)
            paths.setdefault(path, {})[binding.verb.lower()] = made
    paths.update(documented.paths(messages))
    paths.update(jobs.paths(described.rpcs, decoders, messages))
    services = {rpc.service for rpc in described.rpcs}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Asgard",
            "version": version or "0",
            "description": "What simulations produce, kept and watched live.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": s.rpartition(".")[2], "description": messages.comment(s)}
            for s in sorted(services)
        ]
        + documented.TAGS
        + jobs.TAGS,
        "security": security.of_callers(asks=asks),
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": security.SCHEMES,
            "schemas": dict(sorted({**messages.components, "Problem": errors.PROBLEM}.items())),
            "responses": errors.component_responses(),
        },
    }


def endpoint(described: Schema, version: str, *, asks: bool) -> Handler:
    """Make the handler of GET /openapi.json; the document is written once, here."""
    text = orjson.dumps(document(described, version, asks=asks), option=orjson.OPT_INDENT_2)
    answer = Answer(text)

    async def handle(request: Request) -> ASGIApp:
        request.only()
        return await serve(request, answer)

    return handle
