"""Errors over HTTP: gRPC status to problem+json (RFC 9457). The one table for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import grpc
import orjson
from google.rpc import error_details_pb2, status_pb2
from starlette.responses import Response

from asgard_server.rpc.errors import rule_for

MEDIA_TYPE = "application/problem+json"
DOMAIN = "asgard.gimle.io"

# As google.rpc.Code says, but for FAILED_PRECONDITION, which is a conflict with
# the state of the thing (409) and not a malformed request.
STATUS_OF_CODE: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}

# Reasons whose HTTP status says more than that of their code.
STATUS_OF_REASON: Mapping[str, int] = {"REQUEST_TOO_LARGE": 413, "JOB_NOT_RETRYABLE": 400}

_TITLES = {
    422: "Unprocessable Content",
    499: "Client Closed Request",
    413: "Content Too Large",
    421: "Misdirected Request",
}
_GRPC_TOO_LARGE = re.compile(r"(received|sent) message larger than max", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that breaks its rule, by its path in the request (`results[2].data`)."""

    field: str
    detail: str


@dataclass(eq=False)  # not frozen: contextlib sets __traceback__ on what it re-raises
class Problem(Exception):
    """An answer that is an error. `reason` is one of error_reason.proto, or of docs/rest-api.md."""

    status: int
    detail: str
    code: str
    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[Violation, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str = "") -> dict[str, Any]:
        """Make the JSON object of RFC 9457, with our extension members."""
        answer: dict[str, Any] = {
            "type": "about:blank",
            "title": title(self.status),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "reason": self.reason,
            # What Chronicle's pages call the code: "asset_linked".
            "error": self.reason.lower(),
            "metadata": dict(self.metadata),
        }
        if self.errors:
            answer["errors"] = [{"field": e.field, "detail": e.detail} for e in self.errors]
        if request_id:
            answer["request_id"] = request_id
        return answer

    def response(self, request_id: str = "") -> Response:
        """Make the HTTP answer."""
        return Response(
            orjson.dumps(self.body(request_id)),
            self.status,
            {"cache-control": "no-store", **self.headers},
            MEDIA_TYPE,
        )


def title(status: int) -> str:
    """Name a status."""
    known = _TITLES.get(status)
    return known if known is not None else HTTPStatus(status).phrase


def invalid(field_path: str, detail: str) -> Problem:
    """Refuse a request because of one field; the detail says what would be right."""
    return Problem(
        400,
        f"{field_path}: {detail}" if field_path else detail,
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
        {"field": field_path},
        (Violation(field_path, detail),) if field_path else (),
    )


def unknown_path(path: str) -> Problem:
    """Say that nothing is served at a path."""
    return Problem(
        404,
        f"nothing is served at {path}; /openapi.json lists what is",
        "NOT_FOUND",
        "UNKNOWN_PATH",
    )


def wrong_method(method: str, path: str, allowed: list[str]) -> Problem:
    """Say which methods a path has."""
    listed = ", ".join(allowed)
    return Problem(
        405,
        f"{path} does not take {method}; it takes {listed}",
        "UNIMPLEMENTED",
        "METHOD_NOT_ALLOWED",
        {"allow": listed},
        headers={"allow": listed},
    )


def too_large(limit_bytes: int) -> Problem:
    """Refuse a body; the connection closes, because the rest of it is not read."""
    return Problem(
        413,
        f"the request body is larger than {limit_bytes} bytes; send arrays in several appends",
        "RESOURCE_EXHAUSTED",
        "REQUEST_TOO_LARGE",
        {"limitBytes": str(limit_bytes)},
        headers={"connection": "close"},
    )


def internal() -> Problem:
    """Hide a defect of the gateway; the log has it under the request id."""
    return Problem(500, "an internal error, logged under this request id", "INTERNAL", "INTERNAL")


def from_grpc(error: grpc.aio.AioRpcError) -> Problem:
    """Translate a failed call, with its ErrorInfo and BadRequest where it carries them."""
    code = error.code()
    detail = error.details() or code.name.lower().replace("_", " ")
    reason, metadata, violations = "", {}, []
    headers: dict[str, str] = {}
    for any_detail in _details(error):
        if any_detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            any_detail.Unpack(info)
            reason, metadata = info.reason, dict(info.metadata)
        elif any_detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            any_detail.Unpack(bad)
            violations = [Violation(v.field, v.description) for v in bad.field_violations]
        elif any_detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            any_detail.Unpack(retry)
            headers["retry-after"] = str(max(1, retry.retry_delay.seconds))
    if not reason:
        reason = _reason_of_bare(code, detail)
        if code is grpc.StatusCode.UNAVAILABLE:
            detail = "the service behind the gateway cannot be reached; try again"
    status = STATUS_OF_REASON.get(reason, STATUS_OF_CODE.get(code, 500))
    if status == 401:
        headers["www-authenticate"] = _challenge(reason)
    if status == 503:
        headers.setdefault("retry-after", "1")
    return Problem(status, detail, code.name, reason, metadata, tuple(violations), headers)


def of_error(error: Exception) -> Problem:
    """Say what the gateway itself has found, as a service would. Its retries are a second apart."""
    rule = rule_for(error)
    reason = rule.reason if isinstance(rule.reason, str) else rule.reason(error)
    status = STATUS_OF_REASON.get(reason, STATUS_OF_CODE.get(rule.code, 500))
    headers = {401: {"www-authenticate": _challenge(reason)}, 503: {"retry-after": "1"}}
    return Problem(
        status,
        str(error),
        rule.code.name,
        reason,
        rule.metadata(error),
        headers=headers.get(status, {}),
    )


def _challenge(reason: str) -> str:
    """What a 401 says a client can do about it (RFC 6750)."""
    return 'Bearer error="invalid_token"' if reason == "TOKEN_EXPIRED" else "Bearer"


def _details(error: grpc.aio.AioRpcError) -> Any:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            return status.details
    return ()


def _reason_of_bare(code: grpc.StatusCode, detail: str) -> str:
    """Reason of a status that gRPC itself made, without ErrorInfo."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _GRPC_TOO_LARGE.search(detail):
        return "REQUEST_TOO_LARGE"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "UNKNOWN_METHOD"
    if code is grpc.StatusCode.INTERNAL:
        return "INTERNAL"
    return code.name
