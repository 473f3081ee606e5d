"""The documented endpoints in the OpenAPI document; their items come from the descriptors."""

from __future__ import annotations

from typing import Any

from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.gateway import documented, runs_list
from asgard_server.gateway.openapi import errors, security
from asgard_server.gateway.openapi.messages import ID, Messages

Json = dict[str, Any]

TAGS = [
    {"name": "Monitor", "description": "The endpoints of the monitor's documents."},
    {"name": "Operation", "description": "For those who run the service."},
]
_ETAG: Json = {"ETag": {"schema": {"type": "string"}}}
_VIEW: Json = {
    "view": {"type": "object", "description": "Prepared for drawing; see docs/views.md."},
    "view_url": {"type": "string", "description": "Where the view is, when it is not here."},
}
_STATUS: Json = {"type": "string"}


def paths(messages: Messages) -> Json:
    """Path items of the documented endpoints, whose components are added to `messages`."""
    _components(messages)
    by_id = _parameter("id", {"type": "string", "pattern": ID}, "Which one.", required=True)
    return {
        "/api/runs": {
            "get": _get(
                "listAllRuns",
                "All runs, newest first; pages of them when page_size is given.",
                {"type": "array", "items": _ref("RunItem")},
                [
                    _parameter(
                        "page_size",
                        {"type": "integer", "minimum": 1, "maximum": 999_999_999},
                        f"So many at once, at most {documented.MAX_PAGE:,}; then a Link header "
                        'with rel="next" leads to the next page.',
                    ),
                    _parameter(
                        "page_token",
                        {"type": "string"},
                        "From the Link header of the page before; only with page_size.",
                    ),
                    _parameter(
                        "query",
                        {"type": "string"},
                        messages.comment("gimle.asgard.v1.ListRunsRequest.query"),
                    ),
                ],
                headers={
                    "Link": {
                        "description": 'The next page: `</api/runs?...>; rel="next"`.',
                        "schema": {"type": "string"},
                    }
                },
            )
        },
        "/api/run": {
            "get": _get(
                "getRunWithResults",
                "A run with its results, drawn as far as 4 MB of views go.",
                _ref("RunWithResults"),
                [by_id],
                names_a_thing=True,
            ),
            "delete": {
                "operationId": "deleteRunWithResults",
                "tags": ["Monitor"],
                "summary": "Delete a run, its results and their arrays",
                "parameters": [by_id],
                "responses": {
                    "200": _json(_ref("Deleted"), "Deleted."),
                    **errors.responses("", names_a_thing=True, has_body=False),
                },
            },
        },
        "/api/result": {
            "get": _get(
                "getResultDetail",
                "A result, its data as stored and its view.",
                _ref("ResultDetail"),
                [by_id],
                names_a_thing=True,
            )
        },
        "/api/updates": {"get": _updates()},
        "/healthz": {"get": _operation_get("getHealth", "The process lives", _ref("Health"))},
        "/readyz": {"get": _operation_get("getReadiness", "The service is ready", _ref("Ready"))},
        "/metrics": {
            "get": {
                **_operation_get("getMetrics", "Numbers for Prometheus", {}),
                "responses": {
                    "200": {
                        "description": "The Prometheus text format.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    },
                    **errors.responses("", names_a_thing=False, has_body=False, for_everybody=True),
                },
            }
        },
    }


def _components(messages: Messages) -> None:
    messages.output(pb.Run.DESCRIPTOR)
    messages.output(pb.Result.DESCRIPTOR)
    run = messages.components["Run"]["properties"]
    result = messages.components["Result"]["properties"]
    results = {"type": "array", "items": _ref("DrawnResult")}
    messages.components |= {
        "RunItem": _object({name: run[name] for name in runs_list.ITEM}),
        "RunWithResults": _object({**run, "results": results}),
        "DrawnResult": _drawn({name: result[name] for name in documented.RESULT}),
        "ResultDetail": _drawn({name: result[name] for name in documented.RESULT_ALONE}),
        "Deleted": _object({"success": {"const": True}, "message": {"type": "string"}}),
        "Health": _object({"status": {"const": "ok"}, "storage_id": _STATUS, "version": _STATUS}),
        "Ready": _object({"status": {"const": "ready"}}),
    }


def _updates() -> Json:
    return {
        "operationId": "followUpdates",
        "tags": ["Monitor"],
        "summary": "Changes as they happen",
        "description": "Server-sent events without names. `data` is one of "
        '`{"type":"connected"}`, `{"type":"update"|"delete","object_type":"run"|"result"|"asset"|'
        '"experiment"|"job","object_id":...}` (of a result also `run_id`), of what the caller may '
        'read, and `{"type":"reset"}`: read again what you show. It ends when the caller is not '
        "who they were.",
        "parameters": [
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "Go on behind this event; EventSource sends it by itself.",
                "schema": {"type": "string", "pattern": "^[!-~]*$"},
            }
        ],
        "responses": {
            "200": {
                "description": "The stream.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **errors.responses("", names_a_thing=False, has_body=False),
        },
    }


def _get(
    name: str,
    text: str,
    shown: Json,
    parameters: list[Json],
    *,
    names_a_thing: bool = False,
    headers: Json | None = None,
) -> Json:
    return {
        "operationId": name,
        "tags": ["Monitor"],
        "summary": text.rstrip("."),
        "parameters": parameters,
        "responses": {
            "200": {**_json(shown, text), "headers": {**_ETAG, **(headers or {})}},
            "304": {"description": "Unchanged."},
            **errors.responses("", names_a_thing=names_a_thing, has_body=False),
        },
    }


def _operation_get(name: str, text: str, shown: Json) -> Json:
    return {
        "operationId": name,
        "tags": ["Operation"],
        "summary": text,
        "security": security.NOBODY,
        "responses": {
            "200": _json(shown, text),
            **errors.responses("", names_a_thing=False, has_body=False, for_everybody=True),
        },
    }


def _parameter(name: str, shown: Json, text: str, *, required: bool = False) -> Json:
    return {"name": name, "in": "query", "required": required, "description": text, "schema": shown}


def _json(shown: Json, text: str) -> Json:
    return {"description": text, "content": {"application/json": {"schema": shown}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _drawn(properties: Json) -> Json:
    """Describe a result with either its view or the address of it."""
    made = _object({**properties, **_VIEW})
    made["required"] = list(properties)
    made["anyOf"] = [{"required": ["view"]}, {"required": ["view_url"]}]
    return made
