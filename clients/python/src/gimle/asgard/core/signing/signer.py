"""Signing requests to an S3 store: presigned URLs, and headers for requests of our own.

AWS Signature Version 4, byte for byte what botocore makes. A URL is three or four microseconds of
work: the day's signing key is derived once, and what the URLs of a second share is made once.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.signing.endpoint import Address, Endpoint

if TYPE_CHECKING:
    from hashlib import _Hash

LONGEST_S = 7 * 24 * 3600
"""How long a URL may live at most: the protocol's own limit."""

UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"
_MOST_KEY_BYTES = 1024
_MOST_CACHED = 1_000
_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_NONE: Mapping[str, str] = MappingProxyType({})
_is_plain = re.compile(rf"[A-Za-z0-9._~/-]{{1,{_MOST_KEY_BYTES}}}").fullmatch


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs. `expire_time` (seconds since 1970) is known of those that are lent for a while."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expire_time: float | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    """The key that signs all of a day: HMAC-SHA256 as far as it goes without a message.

    Copying two half-done hashes costs a third of hmac.digest.
    """

    inner: _Hash
    outer: _Hash

    def sign(self, text: str) -> str:
        inner = self.inner.copy()
        inner.update(text.encode())
        outer = self.outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


@dataclass(frozen=True, slots=True)
class _Second:
    """What all URLs share that are signed in one second by the same credentials."""

    number: int
    credentials: Credentials
    stamp: str  # 20261121T120000Z
    scope: str  # 20261121/us-east-1/s3/aws4_request
    key: _Key
    begin: str  # the query up to X-Amz-Expires
    token: str  # the query's part for a session token, "" without
    to_sign: str  # the string to sign, but for the request's digest
    plain: dict[tuple[str, str, int], tuple[str, str, str, str]] = field(default_factory=dict)

    def signature(self, request: str) -> str:
        return self.key.sign(self.to_sign + sha256(request.encode()).hexdigest())


class Signer:
    """Signs for one store, in the name of whoever `credentials` says.

    `credentials` is asked before each signature when it is a function, so that they may rotate.
    `clock` answers seconds since 1970. Thread-safe.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials | Callable[[], Credentials],
        *,
        region: str = "us-east-1",
        clock: Callable[[], float] = time.time,
        longest_s: int = LONGEST_S,
    ) -> None:
        if not 1 <= longest_s <= LONGEST_S:
            raise InvalidFieldError("longest_s", f"is {longest_s}", f"give 1 to {LONGEST_S}")
        self.endpoint = endpoint
        self.region = region
        self.longest_s = longest_s
        self._credentials = credentials if callable(credentials) else lambda: credentials
        self._clock = clock
        self._addresses: dict[str, Address] = {}
        self._second: _Second | None = None

    def presign(
        self,
        method: str,
        bucket: str,
        key: str,
        expires_s: int,
        *,
        headers: Mapping[str, str] = _NONE,
        query: Mapping[str, str] = _NONE,
    ) -> str:
        """Make a URL that allows one kind of request to one key, for `expires_s` seconds.

        Whoever uses it must send `headers` exactly so. Temporary credentials that end sooner end
        the URL too: see `expire_time`. Raises InvalidFieldError.
        """
        now = self._now()
        path = f"/{key}" if _is_plain(key) else _path(key)
        if not headers and not query:
            shared = now.plain.get((method, bucket, expires_s))
            if shared is None:
                shared = self._plain(now, method, bucket, expires_s)
            url, tail, before, after = shared
            return f"{url}{path}{tail}{now.signature(f'{before}{path}{after}')}"
        self._check(expires_s)
        address = self._address(bucket)
        signed, escaped, lines = _canonical(headers, address.host)
        asked = _encoded(query)
        canonical = f"{now.begin}{expires_s}{now.token}&X-Amz-SignedHeaders={escaped}"
        signature = now.signature(
            f"{method}\n{address.path}{path}\n{_sorted(asked, canonical)}\n"
            f"{lines}\n{signed}\n{UNSIGNED}"
        )
        tail = f"{now.begin}{expires_s}&X-Amz-SignedHeaders={escaped}{now.token}"
        if asked:
            tail = f"{'&'.join(asked)}&{tail}"
        return f"{address.url}{path}?{tail}&X-Amz-Signature={signature}"

    def sign(
        self,
        method: str,
        bucket: str,
        key: str = "",
        *,
        headers: Mapping[str, str] = _NONE,
        query: Mapping[str, str] = _NONE,
        payload: str = UNSIGNED,
    ) -> tuple[str, dict[str, str]]:
        """Sign a request made now; answer its URL and all headers it must be sent with.

        An empty `key` is the bucket itself. `payload` is the SHA-256 of the body in hex.
        Raises InvalidFieldError.
        """
        now = self._now()
        address = self._address(bucket)
        path = _path(key) if key else "" if address.path.endswith(f"/{bucket}") else "/"
        sent = {**headers, "X-Amz-Date": now.stamp, "X-Amz-Content-SHA256": payload}
        if now.credentials.session_token is not None:
            sent["X-Amz-Security-Token"] = now.credentials.session_token
        signed, _, lines = _canonical(sent, address.host)
        asked = _encoded(query)
        signature = now.signature(
            f"{method}\n{address.path}{path}\n{_sorted(asked)}\n{lines}\n{signed}\n{payload}"
        )
        sent["Authorization"] = (
            f"{_ALGORITHM} Credential={now.credentials.access_key}/{now.scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        return f"{address.url}{path}{'?' if asked else ''}{'&'.join(asked)}", sent

    def expire_time(self, expires_s: int) -> float:
        """When a URL for `expires_s` seconds that is made now ends, in seconds since 1970."""
        end = int(self._clock()) + expires_s
        lent = self._credentials().expire_time
        return end if lent is None else min(end, lent)

    def _plain(
        self, now: _Second, method: str, bucket: str, expires_s: int
    ) -> tuple[str, str, str, str]:
        """What a URL without headers and query is, around its path and its signature."""
        self._check(expires_s)
        address = self._address(bucket)
        auth, signed = f"{now.begin}{expires_s}", "&X-Amz-SignedHeaders=host"
        shared = (
            address.url,
            f"?{auth}{signed}{now.token}&X-Amz-Signature=",
            f"{method}\n{address.path}",
            f"\n{auth}{now.token}{signed}\nhost:{address.host}\n\nhost\n{UNSIGNED}",
        )
        if len(now.plain) < _MOST_CACHED:
            now.plain[method, bucket, expires_s] = shared
        return shared

    def _check(self, expires_s: int) -> None:
        if not 1 <= expires_s <= self.longest_s:
            raise InvalidFieldError(
                "expires_s", f"is {expires_s}", f"give 1 to {self.longest_s} seconds"
            )

    def _address(self, bucket: str) -> Address:
        address = self._addresses.get(bucket)
        if address is None:
            if not bucket or quote(bucket, safe="") != bucket:
                raise InvalidFieldError("bucket", f"is {bucket!r}", "give the name of a bucket")
            if len(self._addresses) >= _MOST_CACHED:
                self._addresses.clear()
            address = self._addresses[bucket] = self.endpoint.address(bucket)
        return address

    def _now(self) -> _Second:
        number = int(self._clock())
        credentials = self._credentials()
        second = self._second
        if second is None or second.number != number or second.credentials is not credentials:
            second = self._second = self._made(number, credentials)
        return second

    def _made(self, number: int, credentials: Credentials) -> _Second:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(number))
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        who = quote(f"{credentials.access_key}/{scope}", safe="")
        token = credentials.session_token
        return _Second(
            number,
            credentials,
            stamp,
            scope,
            _derived(credentials.secret_key, stamp[:8], self.region),
            f"X-Amz-Algorithm={_ALGORITHM}&X-Amz-Credential={who}&X-Amz-Date={stamp}&X-Amz-Expires=",
            "" if token is None else f"&X-Amz-Security-Token={quote(token, safe='')}",
            f"{_ALGORITHM}\n{stamp}\n{scope}\n",
        )


@lru_cache(maxsize=64)
def _derived(secret: str, day: str, region: str) -> _Key:
    key = f"AWS4{secret}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    block = key.ljust(_BLOCK, b"\0")
    return _Key(sha256(block.translate(_INNER)), sha256(block.translate(_OUTER)))


def _path(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= _MOST_KEY_BYTES:
        raise InvalidFieldError(
            "key", f"{key[:40]!r} is not a key", f"give 1 to {_MOST_KEY_BYTES} bytes of UTF-8"
        )
    return f"/{quote(key, safe='/~')}"


def _encoded(query: Mapping[str, str]) -> list[str]:
    return [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items()]


def _sorted(asked: list[str], auth: str = "") -> str:
    """The query as it is signed: sorted by name. `auth` is so already."""
    if not auth:
        return "&".join(sorted(asked, key=_name_and_value))
    if all(pair > "X-Amz-~" for pair in asked):
        return "&".join([auth, *sorted(asked, key=_name_and_value)])
    return "&".join(sorted([*auth.split("&"), *asked], key=_name_and_value))


def _name_and_value(pair: str) -> list[str]:
    return pair.split("=", 1)


def _canonical(headers: Mapping[str, str], host: str) -> tuple[str, str, str]:
    """The names of the headers, these as part of a URL, and the headers' lines as signed."""
    order, signed, escaped = _order(tuple(headers))
    lines = [
        f"{lower}:{' '.join(headers[name].split())}\n" if name else f"host:{host}\n"
        for name, lower in order
    ]
    return signed, escaped, "".join(lines)


@lru_cache(maxsize=256)
def _order(names: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """The names as given and in lower case, sorted; "" stands for the host."""
    order = sorted([*((name, name.lower()) for name in names), ("", "host")], key=lambda n: n[1])
    lower = [each for _, each in order]
    if len(set(lower)) < len(lower):
        raise InvalidFieldError("headers", "one of them is there twice", "give each once, no host")
    return tuple(order), ";".join(lower), quote(";".join(lower), safe="")
