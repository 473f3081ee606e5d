"""Grants to the bytes of a folder: signed, expiring URLs that the page's own process serves.

The same promises as an S3 store gives: what a URL allows is in its query, all of it signed; a
checked request is refused unless its length and SHA-256 are the declared ones, and writes once.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from asgard_server.blob import limits
from asgard_server.blob.domain import Target
from asgard_server.blob.parts import part_bytes
from asgard_server.blob.store import Grant

PREFIX = "/bytes/"
_SIGNATURE = "signature"


class Allowed(NamedTuple):
    """What a URL allows: a method, a key, and what else its query says."""

    method: str
    key: str
    query: Mapping[str, str]


class RefusedError(Exception):
    """A URL that is not ours, or not any more. The text says which."""


class FolderGrants:
    """Signs URLs of the page's process, and knows its own.

    `address` answers where the page is reached, such as http://localhost:8000.
    """

    def __init__(
        self, secret: bytes, address: Callable[[], str], clock: Callable[[], datetime]
    ) -> None:
        self._secret = secret
        self._address = address
        self._clock = clock

    # Grants

    def put(self, blob: Target, seconds: int) -> Grant:
        """One request for all bytes: write-once with size and digest where those are declared."""
        # Who sends a plain PUT says of what type it is as it likes: what counts is the blob's.
        headers = {} if blob.way == "plain" else {"content-type": blob.content_type}
        query = dict(headers)
        if blob.way == "checked":
            query |= {"size": str(blob.size_bytes), "sha256": str(blob.sha256), "once": "1"}
            headers["content-length"] = str(blob.size_bytes)
        else:
            most = limits.PLAIN_BYTES if blob.size_bytes is None else blob.size_bytes
            query["most"] = str(most)
        return self._grant("PUT", blob.arrives_at, query, headers, seconds)

    def part(self, blob: Target, number: int, sha256: str, seconds: int) -> Grant:
        """A request for one part of an upload in parts, with its size and digest."""
        size = part_bytes(blob.size_bytes or 0, number)
        query = {
            "upload": str(blob.upload_id),
            "number": str(number),
            "size": str(size),
            "sha256": sha256,
        }
        return self._grant("PUT", blob.key, query, {"content-length": str(size)}, seconds)

    def get(
        self, blob: Target, seconds: int, wanted: tuple[int, int] | None, save_as: str
    ) -> Grant:
        """A request that reads all bytes, or those of a range (both inclusive)."""
        query = {"content-type": blob.content_type}
        headers = {}
        if save_as:
            query["save-as"] = save_as
        if wanted is not None:
            headers["range"] = query["range"] = f"bytes={wanted[0]}-{wanted[1]}"
        return self._grant("GET", blob.key, query, headers, seconds)

    def open_put(self, key: str, seconds: int) -> str:
        """A URL that takes any bytes for a key, more than once: the last ones count."""
        return self._grant("PUT", key, {"most": str(limits.PLAIN_BYTES)}, {}, seconds).url

    def open_get(self, key: str, content_type: str, seconds: int) -> str:
        """A URL that reads a key whose bytes may change."""
        query = {"content-type": content_type, "changes": "1"}
        return self._grant("GET", key, query, {}, seconds).url

    def _grant(
        self, method: str, key: str, query: dict[str, str], headers: dict[str, str], seconds: int
    ) -> Grant:
        expires_at = self._clock() + timedelta(seconds=seconds)
        query["expires"] = str(int(expires_at.timestamp()))
        text = urlencode(query, quote_via=quote)
        signature = self._signature(method, key, text)
        url = f"{self._address()}{PREFIX}{key}?{text}&{_SIGNATURE}={signature}"
        return Grant(url, method, headers, expires_at)

    # The other side

    def allowed(self, method: str, key: str, text: str) -> Allowed:
        """What a request's query allows. Raises `RefusedError`."""
        signed, _, signature = text.rpartition(f"&{_SIGNATURE}=")
        asked = "GET" if method == "HEAD" else method
        if not hmac.compare_digest(signature, self._signature(asked, key, signed)):
            raise RefusedError("this URL was not signed here for this request")
        query = dict(parse_qsl(signed, keep_blank_values=True))
        if self._clock() >= datetime.fromtimestamp(int(query["expires"]), UTC):
            raise RefusedError("this URL has expired: ask for a fresh one")
        return Allowed(asked, key, query)

    def _signature(self, method: str, key: str, query: str) -> str:
        said = f"{method}\n{key}\n{query}".encode()
        return hmac.digest(self._secret, said, "sha256").hex()


def secret_of(storage: Path) -> bytes:
    """The secret that signs the URLs of a folder, made at first use. Nobody else may read it."""
    path = storage / ".asgard" / "grants.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"grants.key.{secrets.token_hex(8)}")
    if not path.exists():
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, secrets.token_bytes(32))
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(made, path)
        except FileExistsError:
            pass  # another process was faster: its secret is the one
        finally:
            made.unlink()
    return path.read_bytes()
