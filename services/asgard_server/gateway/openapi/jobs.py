"""The documented endpoints of SimSwarm in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from gimle.asgard.v1 import job_pb2

from asgard_server.gateway import jobs
from asgard_server.gateway.decode import Decoders
from asgard_server.gateway.openapi import errors
from asgard_server.gateway.openapi.messages import Messages
from asgard_server.gateway.openapi.operations import ETAG, VARIABLE, operation
from asgard_server.gateway.schema import Rpc
from asgard_server.gateway.transcode import Asks

Json = dict[str, Any]

TAGS = [{"name": "SimSwarm", "description": "The endpoints of SimSwarm's documents."}]
_INVALID: Json = {"$ref": "#/components/responses/Problem422"}


def paths(rpcs: tuple[Rpc, ...], decoders: Decoders, messages: Messages) -> dict[str, Json]:
    """Path items of the documented endpoints, whose components are added to `messages`."""
    by_name = jobs.rpcs_of(rpcs)
    found: dict[str, Json] = {jobs.LIST: {"get": _list(messages)}}
    if not by_name:  # a document of other services, as tests make them
        return {}
    for row in jobs.ROWS:
        rpc, binding = by_name[row.rpc], row.binding
        made = operation(rpc, binding, Asks(rpc, binding, decoders), messages)
        made["operationId"] = f"simSwarm{rpc.name}"
        made["tags"] = ["SimSwarm"]
        success = made["responses"].pop("200")
        if row.status == 204:
            success = {"description": "Done."}
        made["responses"] = {str(row.status): success, **made["responses"], "422": _INVALID}
        path = VARIABLE.sub(r"{\1}", binding.template)
        found.setdefault(path, {})[binding.verb.lower()] = made
    return found


def _list(messages: Messages) -> Json:
    shown = {
        "type": "object",
        "properties": {
            "jobs": {"type": "array", "items": messages.output(job_pb2.JobSummary.DESCRIPTOR)},
            "total": {"type": "integer"},
            "page": {"type": "integer"},
            "per_page": {"type": "integer"},
        },
        "required": ["jobs", "total", "page", "per_page"],
    }
    return {
        "operationId": "simSwarmListJobs",
        "tags": ["SimSwarm"],
        "summary": "A page of the caller's jobs, newest first",
        "description": "Jobs that have been retried are not among them.",
        "parameters": [
            _number("page", 1, jobs.FURTHEST_PAGE, "Which page, from 1."),
            _number("per_page", jobs.PER_PAGE, jobs.MOST_PER_PAGE, "So many at once."),
        ],
        "responses": {
            "200": {
                "description": "The page.",
                "content": {"application/json": {"schema": shown}},
                "headers": ETAG,
            },
            "304": {"description": "Unchanged."},
            **errors.responses("", names_a_thing=False, has_body=False),
            "422": _INVALID,
        },
    }


def _number(name: str, usual: int, most: int, text: str) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
