"""Small objects written over connections that are kept: one request, one answer, no layers between.

To write one costs obstore's client 190 us of processor time, of which its threads and the way to
them and back take most; here it is 85. What is not plainly done is left to that client, which
knows the words of all stores; so are TLS, proxies, and Amazon's own addresses.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import boto3
from botocore.credentials import Credentials as Found
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Credentials, Endpoint, Signer

#: Larger bodies are not worth the difference.
SMALL_BYTES = 64 * 1024
_KEPT = 64
# A store may close a connection that nobody uses: a request that meets it has no answer, and must
# be taken for one that may still arrive.
_KEPT_FOR_S = 3.0
_LONGEST_HEAD = 64 * 1024
_END = b"\r\n\r\n"


class UnansweredError(Exception):
    """A request was sent, and nobody knows what became of it."""


class Answer(NamedTuple):
    """What a store answers: its status, 0 where it was not reached, and the etag if it is 200."""

    status: int
    etag: str = ""


class Puts:
    """Writes objects of one bucket, over plain HTTP. For one event loop."""

    def __init__(self, signer: Signer, bucket: str, headers: Mapping[str, str]) -> None:
        self._signer = signer
        self._bucket = bucket
        self._headers = headers
        address = urlsplit(signer.endpoint.url)
        self._host = address.hostname or ""
        self._port = address.port or 80
        self._skip = len(f"{address.scheme}://{address.netloc}")
        self._host_header = signer.endpoint.address(bucket).host
        self._kept: list[_Connection] = []

    @classmethod
    def of(cls, place: Place) -> Puts | None:
        """Who writes to a place; None where it takes more than this."""
        endpoint = (
            place.endpoint
            or os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
        )
        session = boto3.Session()
        keys = _keys(place, session)
        if not endpoint or not endpoint.startswith("http://") or keys is None or getproxies():
            return None
        region = place.credentials.get("region_name") or session.region_name or "us-east-1"
        headers = {}
        if place.encryption:
            headers["x-amz-server-side-encryption"] = place.encryption["ServerSideEncryption"]
            if "SSEKMSKeyId" in place.encryption:
                name = "x-amz-server-side-encryption-aws-kms-key-id"
                headers[name] = place.encryption["SSEKMSKeyId"]
        return cls(Signer(Endpoint.parse(endpoint), keys, region=region), place.bucket, headers)

    async def put(
        self, key: str, body: bytes, condition: Mapping[str, str], timeout_s: float
    ) -> Answer:
        """Write an object on a condition (If-None-Match, If-Match).

        Raises UnansweredError when the store was asked and has not answered in time.
        """
        try:
            connection = await self._connected(timeout_s)
        except (OSError, TimeoutError):
            return Answer(0)
        done = False
        try:
            answer, done = await connection.ask(self._request(key, body, condition), timeout_s)
        except OSError as error:
            raise UnansweredError(str(error)) from error
        finally:
            if done and len(self._kept) < _KEPT:
                self._kept.append(connection)
            else:
                connection.abort()
        return answer

    def close(self) -> None:
        """Close the connections that are kept."""
        for connection in self._kept:
            connection.abort()
        self._kept.clear()

    async def _connected(self, timeout_s: float) -> _Connection:
        late = time.monotonic() - _KEPT_FOR_S
        while self._kept:
            connection = self._kept.pop()
            if connection.is_open and connection.used_at > late:
                return connection
            connection.abort()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            _, made = await loop.create_connection(_Connection, self._host, self._port)
        return made

    def _request(self, key: str, body: bytes, condition: Mapping[str, str]) -> bytes:
        url, headers = self._signer.sign(
            *("PUT", self._bucket, key),
            headers={**self._headers, **condition},
            payload=sha256(body).hexdigest(),
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"PUT {url[self._skip :]} HTTP/1.1\r\nHost: {self._host_header}\r\n"
            f"Content-Length: {len(body)}\r\n{lines}\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    """One connection: asked one thing at a time."""

    def __init__(self) -> None:
        self.used_at = time.monotonic()
        self._transport: asyncio.Transport | None = None
        self._seen = b""
        self._answer: asyncio.Future[tuple[Answer, bool]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is there, as far as is known, and has said nothing unasked."""
        return self._transport is not None and not self._seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP is
        self._transport = transport

    async def ask(self, request: bytes, timeout_s: float) -> tuple[Answer, bool]:
        """Send a request; its answer, and whether the next may follow. Raises OSError."""
        if self._transport is None:
            raise ConnectionResetError("it is closed")
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._transport.write(request)
        timer = loop.call_later(timeout_s, self._fail, TimeoutError("no answer"))
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None
            self.used_at = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """More of an answer."""
        self._seen += data
        end = self._seen.find(_END)
        if end < 0:
            if len(self._seen) > _LONGEST_HEAD:
                self._fail(ConnectionError("it does not speak HTTP"))
            return
        if self._answer is None or self._answer.done():
            return
        try:
            status, headers = _read(self._seen[:end])
        except ValueError:
            self._fail(ConnectionError("it does not speak HTTP"))
            return
        whole = status == 200 and headers.get(b"content-length") == b"0"
        goes_on = headers.get(b"connection", b"").lower() != b"close"
        alone = len(self._seen) == end + len(_END)
        answer = Answer(status, headers.get(b"etag", b"").decode("latin-1"))
        self._seen = b"" if alone else self._seen
        self._answer.set_result((answer, whole and goes_on and alone))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._fail(ConnectionResetError("closed before it answered"))

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _read(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """The status and the headers of an answer. Raises ValueError."""
    first, *lines = head.split(b"\r\n")
    if not first.startswith(b"HTTP/1.1 "):
        raise ValueError(first[:16])
    pairs = (line.partition(b":") for line in lines)
    return int(first[9:12]), {name.lower(): value.strip() for name, _, value in pairs}


def _keys(place: Place, session: boto3.Session) -> Credentials | None:
    """The keys that sign, if they are given once for all."""
    given = place.credentials
    if "aws_access_key_id" in given:
        return Credentials(
            given["aws_access_key_id"],
            given["aws_secret_access_key"],
            given.get("aws_session_token") or None,
        )
    found = session.get_credentials()
    # Those of a role are renewed, by a request that the loop must not wait for.
    if type(found) is not Found:
        return None
    return Credentials(found.access_key, found.secret_key, found.token)
