"""Tokens of an OIDC provider: found to be its own, meant for us, and of now.

The provider's keys are asked for when the first token comes, again every few minutes, and at once
for a token signed by a key that is not known yet: providers rotate theirs. While it does not
answer, the last keys stay in use.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from gimle.asgard.core.access_errors import TokenExpiredError, UnauthenticatedError
from gimle.asgard.core.errors import StorageUnavailableError
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

# Signatures by keys that the provider keeps to itself. Not HMAC, whose key both must have: a token
# signed with the provider's public key as a secret would pass; and never `none`.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip

# A token is a header of a call; what is longer is none of a provider's.
MAX_TOKEN_CHARACTERS = 16_384
_MAX_DOCUMENT_BYTES = 1 << 20
_FETCH_SECONDS = 5.0
# How old keys become before they are asked for again: so long is a withdrawn one believed.
_KEYS_SECONDS = 300.0
# How soon they are asked for again, however many tokens name keys that are not there.
_PAUSE_SECONDS = 2.0

_log = structlog.get_logger("asgard.auth")

Fetch = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose tokens are taken.

    `issuer` is its URL, as it stands in tokens; `audience` is what it calls us, one of which a
    token must be meant for; `leeway_seconds` is how much its clock and ours may differ.
    """

    issuer: str
    audience: tuple[str, ...]
    leeway_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, that is good until `expires_at`: with the leeway, by our clock.

    `issued_at` is by the provider's, and None where it does not say.
    """

    sub: str
    expires_at: datetime
    values: Mapping[str, Any]
    issued_at: datetime | None = None


class Tokens:
    """Reads tokens of one provider."""

    def __init__(
        self,
        provider: Provider,
        *,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._keys = _Keys(provider.issuer, fetch or fetched, monotonic)

    async def claims(self, token: str) -> Claims:
        """What a token says. Raises `UnauthenticatedError`, `TokenExpiredError`, and
        `StorageUnavailableError` while the provider's keys cannot be had.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise UnauthenticatedError("the token is too long to be one of the provider's")
        try:
            algorithm, kid = _header(token)
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise UnauthenticatedError("the token is not a signed JWT") from error
        if algorithm not in ALGORITHMS:
            raise UnauthenticatedError(f"the token's alg is {algorithm[:16]!r}, which is not taken")
        keys = await self._keys.with_key(kid)
        try:
            read = await self._read(token, kid, keys)
            self._rules().validate(read.claims)
            leeway = timedelta(seconds=self._provider.leeway_seconds)
            expires_at = datetime.fromtimestamp(read.claims["exp"], UTC) + leeway
            issued = read.claims.get("iat")
            issued_at = None if issued is None else datetime.fromtimestamp(issued, UTC)
        except ExpiredTokenError as error:
            raise TokenExpiredError("the token has expired; sign in again") from error
        except (JoseError, ValueError, TypeError, OverflowError, OSError) as error:
            raise UnauthenticatedError(f"the token is not taken: {_problem(error)}") from error
        return Claims(read.claims["sub"], expires_at, read.claims, issued_at)

    async def _read(self, token: str, kid: str | None, keys: KeySet) -> jwt.Token:
        """Check the signature. A token that does not name its key may be signed by a newer one."""
        try:
            return jwt.decode(token, keys, algorithms=list(ALGORITHMS))
        except BadSignatureError:
            if kid is not None:
                raise
            keys = await self._keys.with_key(None, newer=True)
            return jwt.decode(token, keys, algorithms=list(ALGORITHMS))

    def _rules(self) -> jwt.JWTClaimsRegistry:
        provider = self._provider
        return jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=provider.leeway_seconds,
            iss={"essential": True, "value": provider.issuer},
            sub={"essential": True},
            aud={"essential": True, "values": list(provider.audience)},
            exp={"essential": True},
        )


class _Keys:
    """The keys of a provider, as they were when it was last asked."""

    def __init__(self, issuer: str, fetch: Fetch, monotonic: Callable[[], float]) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._asked_at = -_KEYS_SECONDS
        self._lock = asyncio.Lock()

    async def with_key(self, kid: str | None, *, newer: bool = False) -> KeySet:
        """Keys that have this one, if the provider has it; or ones that are `newer`, if there are.

        Raises `StorageUnavailableError`.
        """
        if self._is_due(kid, newer):
            async with self._lock:
                if self._is_due(kid, newer):  # unless somebody else has asked meanwhile
                    await self._ask()
        if self._keys is None:
            raise StorageUnavailableError(
                f"identity provider {self._issuer}",
                "its keys cannot be had; is ASGARD_OIDC_ISSUER right, and does it answer?",
                passing=True,
            )
        return self._keys

    def _is_due(self, kid: str | None, newer: bool) -> bool:
        age = self._monotonic() - self._asked_at
        if newer or self._keys is None or (kid is not None and not _has(self._keys, kid)):
            return age >= _PAUSE_SECONDS
        return age >= _KEYS_SECONDS

    async def _ask(self) -> None:
        self._asked_at = self._monotonic()
        try:
            said = await configuration(self._issuer, self._fetch)
            document = await self._fetch(said["jwks_uri"])
            usable = [key for key in document["keys"] if key.get("use", "sig") == "sig"]
            self._keys = KeySet.import_key_set({"keys": usable})
        except (OSError, JoseError, ValueError, LookupError, TypeError, AttributeError) as error:
            _log.warning("oidc_keys_not_had", issuer=self._issuer, error=str(error))


async def configuration(issuer: str, fetch: Fetch) -> Mapping[str, Any]:
    """What a provider says of itself.

    Raises `OSError`, or `ValueError`, `LookupError`, `TypeError` for what is no such document.
    """
    where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    said: Mapping[str, Any] = await fetch(where)
    if said["issuer"] != issuer:
        raise ValueError(f"{where} speaks for {said['issuer']!r}")
    return said


async def fetched(url: str) -> Any:
    """A JSON document of the provider. Raises `OSError`, `ValueError`."""
    return await asyncio.to_thread(_fetched, url)


def _fetched(url: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url[:200]!r} is not an address of http or https")
    asked = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310 - looked at above
    with OPENER.open(asked, timeout=_FETCH_SECONDS) as answer:
        return json.loads(answer.read(_MAX_DOCUMENT_BYTES))


class _Staying(urllib.request.HTTPRedirectHandler):
    """The provider's documents are where it says: nobody else is asked in its name."""

    def redirect_request(self, *request: Any) -> None:
        return None


OPENER = urllib.request.build_opener(_Staying)


def _header(token: str) -> tuple[str, str | None]:
    header = jws.extract_compact(token.encode()).headers()
    kid = header.get("kid")
    return str(header.get("alg", "")), kid if isinstance(kid, str) else None


def _has(keys: KeySet, kid: str) -> bool:
    try:
        keys.get_by_kid(kid)
    except InvalidKeyIdError:
        return False
    return True


def _problem(error: Exception) -> str:
    said = getattr(error, "description", "") or str(error) or type(error).__name__
    return str(said).rstrip(".").lower()
