"""An operation of the document: one binding of an RPC."""

from __future__ import annotations

import re
from typing import Any

from asgard_server.gateway.openapi import errors, security
from asgard_server.gateway.openapi.messages import Messages
from asgard_server.gateway.schema import Binding, Rpc, message_of
from asgard_server.gateway.transcode import Asks

Json = dict[str, Any]

ETAG: Json = {
    "ETag": {
        "description": "Send it back in If-None-Match, and an unchanged body is a 304.",
        "schema": {"type": "string"},
    }
}
VARIABLE = re.compile(r"\{([^}=]+)(?:=[^}]*)?\}")
_HTTP_BODY = "google.api.HttpBody"
# How the comment of a field says which kind of text it is.
_MEDIA_TYPE = re.compile(r"(text/[a-z]+)\b")


def operation(rpc: Rpc, binding: Binding, asks: Asks, messages: Messages) -> Json:
    """Describe one binding."""
    comment = messages.comment(rpc.full_name)
    variables = VARIABLE.findall(binding.template)
    made: Json = {
        "operationId": rpc.name[0].lower() + rpc.name[1:],
        "tags": [rpc.service.rpartition(".")[2]],
        "summary": comment.partition(". ")[0].partition(".\n")[0].replace("\n", " ").rstrip("."),
        "description": comment,
    }
    parameters = [_variable(rpc, name, messages) for name in variables]
    for name, field in asks.parameters.items():
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": messages.comment(field.descriptor.full_name),
                "schema": messages.parameter(field.descriptor),
            }
        )
    if rpc.for_everybody:
        made["security"] = security.NOBODY
    if parameters:
        made["parameters"] = parameters
    if binding.body:
        made["requestBody"] = _body(rpc, binding, frozenset(variables), messages)
    made["responses"] = {
        "200": _success(rpc, binding, messages),
        **({"304": {"description": "Unchanged."}} if _has_etag(rpc, binding) else {}),
        **errors.responses(
            comment,
            names_a_thing=bool(variables),
            has_body=bool(binding.body),
            for_everybody=rpc.for_everybody,
        ),
    }
    return made


def _variable(rpc: Rpc, name: str, messages: Messages) -> Json:
    descriptor = rpc.input
    *outer, last = name.split(".")
    for step in outer:
        descriptor = message_of(descriptor.fields_by_name[step])
    field = descriptor.fields_by_name[last]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": messages.comment(field.full_name),
        "schema": {**messages.parameter(field), "minLength": 1},
    }


def _body(rpc: Rpc, binding: Binding, in_path: frozenset[str], messages: Messages) -> Json:
    if binding.body == "*":
        shown = messages.input(rpc.input, in_path)
    else:
        shown = messages.input(message_of(rpc.input.fields_by_name[binding.body]))
    # No body is an empty object: enough where nothing is required.
    required = "required" in messages.components[shown["$ref"].rpartition("/")[2]]
    return {"required": required, "content": {"application/json": {"schema": shown}}}


def _has_etag(rpc: Rpc, binding: Binding) -> bool:
    return binding.verb == "GET" and not rpc.streaming


def _success(rpc: Rpc, binding: Binding, messages: Messages) -> Json:
    shown, is_list = rpc.output, False
    if binding.response_body:
        field = rpc.output.fields_by_name[binding.response_body]
        shown, is_list = message_of(field), field.is_repeated
    said = messages.comment(f"{rpc.output.full_name}.{binding.response_body}")
    if shown.full_name == _HTTP_BODY and (kind := _MEDIA_TYPE.match(said)):
        content: Json = {kind[1]: {"schema": {"type": "string"}}}
    elif shown.full_name == _HTTP_BODY:
        content = {
            "application/json": {"schema": {}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }
    elif rpc.streaming:
        content = {
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "description": "Server-sent events; `data` of each is JSON: "
                    f"{messages.output(shown)['$ref']}. A failure is an event named `error` "
                    "whose data is a Problem.",
                }
            }
        }
    elif is_list:
        content = {
            "application/json": {"schema": {"type": "array", "items": messages.output(shown)}}
        }
    else:
        content = {"application/json": {"schema": messages.output(shown)}}
    made: Json = {"description": messages.comment(shown.full_name) or "Done.", "content": content}
    if _has_etag(rpc, binding):
        made["headers"] = ETAG
    return made
