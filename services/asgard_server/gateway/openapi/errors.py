"""Problem answers in the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

import grpc

from asgard_server.gateway.problems import MEDIA_TYPE, STATUS_OF_CODE, title

Json = dict[str, Any]

PROBLEM: Json = {
    "type": "object",
    "description": "An error, as RFC 9457 has it, with what gRPC says beside it.",
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "Name of the HTTP status."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong, and its mend. For people."},
        "code": {"type": "string", "description": "Name of the gRPC status."},
        "reason": {"type": "string", "description": "Stable name of the reason."},
        "error": {"type": "string", "description": "The reason in lower case."},
        "metadata": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Facts that belong to the reason, for programs.",
        },
        "errors": {
            "type": "array",
            "description": "The fields that break a rule.",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["field", "detail"],
            },
        },
        "request_id": {"type": "string", "description": "Under which the log has it."},
    },
    "required": ["type", "title", "status", "detail", "code", "reason", "error", "metadata"],
}

_WHEN = {
    400: "A parameter or a field breaks its rule; `errors` names it.",
    401: "Nobody is identified by what the call shows; `reason` says whether it has expired.",
    403: "The Host or the Origin of the request is not allowed, or the caller may not do this.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "The present state of the thing does not allow it; `reason` says why.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A parameter or a field breaks its rule, where SimSwarm's documents say so.",
    429: "A limit is reached; try again later.",
    500: "A defect, or a stored document that cannot be read.",
    503: "The service or its storage cannot be reached now.",
    504: "It took too long.",
}
_ALWAYS = (400, 403, 429, 500, 503, 504)
_WITH_BODY = (408, 409, 413, 415)
_CODE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bABORTED\b|\bUNAVAILABLE\b")


def component_responses() -> Json:
    """Build responses to be referred to, by status, and `default` for any other."""
    made = {str(status): _response(f"{title(status)}. {_WHEN[status]}") for status in _WHEN}
    return {**{f"Problem{s}": r for s, r in made.items()}, "Problem": _response("Any error.")}


def responses(
    comment: str, *, names_a_thing: bool, has_body: bool, for_everybody: bool = False
) -> Json:
    """Answers that are errors, of an operation whose comment names gRPC codes."""
    statuses = {*_ALWAYS}
    if not for_everybody:
        statuses.add(401)
    if names_a_thing:
        statuses.add(404)
    if has_body:
        statuses.update(_WITH_BODY)
    by_name = {code.name: STATUS_OF_CODE[code] for code in grpc.StatusCode if code.value[0]}
    statuses.update(by_name[word] for word in _CODE.findall(comment) if word in by_name)
    made: Json = {str(s): {"$ref": f"#/components/responses/Problem{s}"} for s in sorted(statuses)}
    made["default"] = {"$ref": "#/components/responses/Problem"}
    return made


def _response(description: str) -> Json:
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
