"""What goes wrong.

ChronicleError
├── ChronicleConfigError         before any request: no key, or settings that contradict each other
├── ChronicleAPIError            the server said no: status, code, detail, metadata
│   ├── InvalidRequestError      400, 422: a field is wrong; `field` says which
│   ├── AuthenticationError      401: no key, or one that is expired or revoked
│   ├── ForbiddenError           403: it may be read, but not changed so
│   ├── NotFoundError            404: it is not there, or it may not be read
│   ├── ConflictError            409: its state does not allow it, such as "asset_linked"
│   └── TooLargeError            413: use the presigned flow
├── ServerUnavailableError       no answer, or 5xx: the same call may succeed later
└── UploadError                  bytes could not be moved
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ChronicleError(Exception):
    """What all errors of this client have in common."""


class ChronicleConfigError(ChronicleError, ValueError):
    """The client cannot be set up so; the message names the setting and the mend."""


class ChronicleAPIError(ChronicleError):
    """The server refused: HTTP `status`, the `code` ("asset_linked"), its words, what it adds."""

    def __init__(
        self, status: int, code: str, detail: str, metadata: Mapping[str, str], request_id: str
    ) -> None:
        super().__init__(f"{detail} [{status} {code}]" if code else f"{detail} [{status}]")
        self.status = self.status_code = status
        self.code = code
        self.detail = detail
        self.metadata = dict(metadata)
        self.request_id = request_id


class InvalidRequestError(ChronicleAPIError, ValueError):
    """A field of the request is wrong."""

    @property
    def field(self) -> str:
        """Which one; "" when it is none in particular."""
        return self.metadata.get("field", "")


class AuthenticationError(ChronicleAPIError):
    """The server does not know who asks."""


class ForbiddenError(ChronicleAPIError, PermissionError):
    """Whoever asks may not do this."""


class NotFoundError(ChronicleAPIError, LookupError):
    """There is no such thing, or it may not be read."""


class ConflictError(ChronicleAPIError):
    """The state of the thing does not allow it. `links` counts what refers to it (asset_linked)."""

    @property
    def links(self) -> dict[str, int]:
        """How many links of each kind; empty unless the code is "asset_linked"."""
        return {key: int(value) for key, value in self.metadata.items() if value.isdigit()}


class TooLargeError(ChronicleAPIError):
    """More than passes through the server."""


class ServerUnavailableError(ChronicleError, ConnectionError):
    """The server does not answer, or not as it should."""


class UploadError(ChronicleError, OSError):
    """Bytes could not be moved."""


_KINDS: Mapping[int, type[ChronicleAPIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidRequestError,
}


def refusal(status: int, body: Any, said: str) -> ChronicleAPIError | ServerUnavailableError:
    """The error of an answer: `body` its JSON where it is some, `said` its beginning as text."""
    problem = body if isinstance(body, dict) else {}
    detail = str(problem.get("detail") or said or "no reason given")
    if status >= 500:
        return ServerUnavailableError(f"the server failed: {detail} [{status}]")
    code = str(problem.get("reason") or problem.get("code") or "").lower()
    metadata = problem.get("metadata")
    told = {str(key): str(value) for key, value in dict(metadata or {}).items()}
    kind = _KINDS.get(status, ChronicleAPIError)
    return kind(status, code, detail, told, str(problem.get("request_id", "")))
