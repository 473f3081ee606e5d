"""REST to the server: one pool of connections, what is safe again where that may help."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from methodic.answers import readable
from methodic.config import Config
from methodic.encoding import encoded
from methodic.errors import ServerUnavailableError, refusal

ATTEMPTS = 4
_FIRST_WAIT_S = 0.2
# However long a server says that it is away: a script is to hear of it.
_LONGEST_WAIT_S = 10.0
# 499: nobody here has given up; the call was cut off by the end of the process that was at it.
_PASSING = frozenset({429, 499, 502, 503, 504})


class Transport:
    """Requests of one client; threads may share it."""

    def __init__(self, config: Config) -> None:
        self._server = config.server_url.rstrip("/")
        self._client = httpx.Client(
            base_url=self._server,
            timeout=config.timeout,
            headers={"authorization": f"Bearer {config.api_key}", "user-agent": "methodic"},
        )

    def close(self) -> None:
        """Close all connections; again is no error."""
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; members of the query that are None are left out."""
        return self.call("GET", path, query=query, safe=True)

    def post(self, path: str, body: Mapping[str, Any], *, safe: bool = False) -> Any:
        """POST; `safe`: the body carries an id, or a repeat does no harm otherwise."""
        return self.call("POST", path, body=body, safe=safe)

    def put(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """PUT, which is safe to repeat."""
        return self.call("PUT", path, body=body or {}, safe=True)

    def delete(self, path: str, **query: Any) -> Any:
        """DELETE; not repeated by itself, for the repeat would say that it is gone."""
        return self.call("DELETE", path, query=query)

    def pages(self, path: str, member: str, **query: Any) -> Iterator[Any]:
        """Every item of a list, page by page."""
        token = None
        while True:
            page = self.get(path, page_token=token, **query)
            yield from page[member]
            token = page.get("next_page_token")
            if not token:
                return

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        safe: bool = False,
    ) -> Any:
        """One request; answer its JSON, readable both ways. Raises ChronicleError."""
        asked = {key: _in_query(value) for key, value in (query or {}).items() if value is not None}
        sent, kind = b"", {}
        if body is not None:
            sent = encoded({key: value for key, value in body.items() if value is not None})
            kind = {"content-type": "application/json"}
        wait = _FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            asked_for = 0.0
            last = not safe or attempt == ATTEMPTS
            try:
                answer = self._client.request(
                    method, path, params=asked, content=sent, headers=kind
                )
            except httpx.TransportError as error:
                if last:
                    raise ServerUnavailableError(
                        f"{self._server} does not answer ({error or type(error).__name__}); is it "
                        "running (`asgard monitor`), and is server_url right?"
                    ) from error
            else:
                if last or answer.status_code not in _PASSING:
                    return _read(answer)
                asked_for = _retry_after(answer)
            time.sleep(max(asked_for, wait * random.uniform(0.5, 1.5)))  # noqa: S311 - no secret
            wait *= 2
        raise AssertionError("the last attempt answers or raises")


def _in_query(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _retry_after(answer: httpx.Response) -> float:
    """The seconds that a server asks us to wait (RFC 9110, 10.2.3); 0 for none, or a date."""
    said = answer.headers.get("retry-after", "")
    return min(float(said), _LONGEST_WAIT_S) if said.isascii() and said.isdigit() else 0.0


def _read(answer: httpx.Response) -> Any:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = None
    if answer.is_success and body is not None:
        return readable(body)
    if answer.is_success or answer.is_redirect:
        raise ServerUnavailableError(
            f"{answer.url} answered {answer.status_code} without JSON: is this the right server?"
        )
    raise refusal(answer.status_code, body, answer.text[:200])
