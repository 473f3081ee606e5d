"""The one table from what a call ends with to the exceptions of core.errors.

A service says why it refused by one `google.rpc.ErrorInfo`; what comes without one comes
from the way there, and is a StorageUnavailableError: the storage could not be asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from gimle.asgard.client import asset_rows, experiment_rows, job_rows
from gimle.asgard.core import access_errors, errors
from gimle.asgard.core.documents import parse_time
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "asgard.gimle.io"

# What RunService takes in one request.
LIMIT_BYTES = 64 * 1024 * 1024

# For whoever sends bytes and is waited for: room for them does not come in a moment.
PASSING_UNLESS_FULL = (errors.StorageUnavailableError, errors.StoppingError)

# What the same call may get over by being repeated a moment later.
PASSING = (*PASSING_UNLESS_FULL, errors.StorageFullError)

_Row = Callable[[str, Mapping[str, str], str], errors.AsgardError]

# A request's message inside the request: authors know the field alone.
_INSIDE = re.compile(r"(run|result|results\[\d+\])\.")


def _field(message: str, info: Mapping[str, str], place: str) -> errors.AsgardError:
    field, mend = info.get("field", "request"), info.get("mend", "")
    problem = message.removeprefix(f"{field}: ").removesuffix(f"; {mend}")
    return errors.InvalidFieldError(_INSIDE.sub("", field, count=1), problem, mend)


def _kind(message: str) -> str:
    """What there is already: the reason speaks of runs, results and blobs alike."""
    found = re.match(r"there is already an? (\w+) ", message)
    return found[1] if found else "run"


def _missing(*kinds: str) -> dict[str, _Row]:
    """The rows of what is said to be missing: `KIND_NOT_FOUND` with `kindId`."""

    def row(kind: str) -> _Row:
        return lambda message, info, place: errors.NotFoundError(kind, info[f"{kind}Id"])

    return {f"{kind.upper()}_NOT_FOUND": row(kind) for kind in kinds}


_REASONS: Mapping[str, _Row] = {
    "INVALID_FIELD": _field,
    "PAGE_TOKEN_MISMATCH": lambda message, info, place: errors.PageTokenMismatchError(message),
    "RUN_NOT_FOUND": lambda message, info, place: errors.NotFoundError("run", info["runId"]),
    "RESULT_NOT_FOUND": lambda message, info, place: errors.NotFoundError(
        "result", info["resultId"]
    ),
    "BLOB_NOT_FOUND": lambda message, info, place: errors.NotFoundError("blob", info["blobId"]),
    "BLOB_NOT_READY": lambda message, info, place: errors.BlobNotReadyError(
        info["blobId"], info["state"]
    ),
    "UPLOAD_ENDED": lambda message, info, place: errors.UploadEndedError(
        info["blobId"], info["state"]
    ),
    "UPLOAD_INCOMPLETE": lambda message, info, place: errors.UploadIncompleteError(
        info["blobId"], info["problem"]
    ),
    "DIGEST_MISMATCH": lambda message, info, place: errors.DigestMismatchError(
        info["blobId"], info["problem"]
    ),
    "BLOB_OWNED": lambda message, info, place: errors.BlobOwnedError(info["blobId"], info["owner"]),
    "BLOB_TOO_LARGE": lambda message, info, place: errors.BlobTooLargeError(
        int(info["limitBytes"])
    ),
    "GRANTS_UNAVAILABLE": lambda message, info, place: errors.GrantsUnavailableError(info["mend"]),
    "ALREADY_EXISTS": lambda message, info, place: errors.AlreadyExistsError(
        _kind(message), info["id"]
    ),
    "DELETED": lambda message, info, place: errors.DeletedError(
        info["id"], parse_time(info["deletedAt"])
    ),
    "ETAG_MISMATCH": lambda message, info, place: errors.EtagMismatchError(info["etag"]),
    "LENGTH_MISMATCH": lambda message, info, place: errors.LengthMismatchError(int(info["length"])),
    "CANNOT_APPEND": lambda message, info, place: errors.CannotAppendError(
        info["resultId"], info["problem"]
    ),
    "RESUME_TOKEN_UNUSABLE": lambda message, info, place: errors.ResumeTokenUnusableError(message),
    "WATCHER_TOO_SLOW": lambda message, info, place: errors.WatcherTooSlowError(message),
    "STOPPING": lambda message, info, place: errors.StoppingError(message),
    "STORAGE_UNAVAILABLE": lambda message, info, place: errors.StorageUnavailableError(
        f"{info['place']} of {place}", info["mend"]
    ),
    "STORAGE_FULL": lambda message, info, place: errors.StorageFullError.told(place, info),
    "STORAGE_READ_ONLY": lambda message, info, place: errors.StorageReadOnlyError(
        f"{info['place']} of {place}", info["mend"]
    ),
    "REQUEST_TOO_LARGE": lambda message, info, place: errors.RequestTooLargeError(
        int(info["limitBytes"])
    ),
    "DOCUMENT_UNREADABLE": lambda message, info, place: errors.DocumentError(
        info["id"], info["problem"]
    ),
    "UNKNOWN_METHOD": lambda message, info, place: errors.UnknownMethodError(
        f"{place}: {message}; it is older than this library, upgrade it"
    ),
    "DEADLINE_EXCEEDED": lambda message, info, place: too_late(place),
    "INTERNAL": lambda message, info, place: errors.ServiceError(f"{place}: {message}"),
    "UNAUTHENTICATED": lambda message, info, place: access_errors.UnauthenticatedError(message),
    "TOKEN_EXPIRED": lambda message, info, place: access_errors.TokenExpiredError(message),
    "FORBIDDEN": lambda message, info, place: access_errors.ForbiddenError(message),
    "NOT_A_MEMBER": lambda message, info, place: access_errors.NotAMemberError(info["scope"]),
    "LAST_ADMINISTRATOR": lambda message, info, place: access_errors.LastAdministratorError(
        info["what"], info["principal"]
    ),
    "IN_USE": lambda message, info, place: access_errors.InUseError(
        info["what"], {kind: int(count) for kind, count in info.items() if kind != "what"}
    ),
    **_missing("user", "organization", "team", "key", "principal", "asset"),
    **asset_rows.ROWS,
    **job_rows.ROWS,
    **experiment_rows.ROWS,
}

# Without an ErrorInfo: said by gRPC or by a proxy, not by the service.
_CODES: Mapping[grpc.StatusCode, Callable[[str, str], errors.AsgardError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: lambda message, place: too_late(place),
    grpc.StatusCode.RESOURCE_EXHAUSTED: lambda message, place: errors.RequestTooLargeError(
        LIMIT_BYTES
    ),
    grpc.StatusCode.UNIMPLEMENTED: lambda message, place: errors.UnknownMethodError(
        f"{place} has no such method; is it the address of this service, and of this release?"
    ),
    grpc.StatusCode.UNAUTHENTICATED: lambda message, place: errors.ServiceError(
        f"{place}: {message}"
    ),
    grpc.StatusCode.PERMISSION_DENIED: lambda message, place: errors.ServiceError(
        f"{place}: {message}"
    ),
}


def raised_by(call: Any, place: str) -> errors.AsgardError:
    """The exception for a call that failed. `place` is the address as its author gave it."""
    message = str(call.details() or "")
    info = _info(call)
    if info is not None:
        row = _REASONS.get(info.reason)
        if row is None:
            return errors.ServiceError(f"{place}: {message or info.reason}")
        try:
            return row(message, info.metadata, place)
        except (KeyError, ValueError):
            return errors.ServiceError(f"{place}: {message or info.reason}")
    code = _CODES.get(call.code())
    if code is not None:
        return code(message, place)
    return errors.StorageUnavailableError(
        place, f"{message or call.code().name}; is the server running, and the address right?"
    )


def too_late(place: str) -> errors.AsgardError:
    """The exception for an answer that did not come in time."""
    return errors.StorageUnavailableError(place, "it did not answer in time; try again")


def _info(call: Any) -> Any:
    """The ErrorInfo of a failed call, None when there is none of ours."""
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info) and info.domain == DOMAIN:
                    return info
    return None
