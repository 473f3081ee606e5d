"""Browsers signed in at an OIDC provider: the authorization code flow with PKCE (RFC 7636).

What becomes of it is an ID token: by the standard it is a JWT and meant for the client that asked,
which is us. Access tokens need be neither.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import structlog
from gimle.asgard.core.access_errors import UnauthenticatedError
from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.auth.oidc import OPENER, Claims, Fetch, Tokens, configuration, fetched

_SEND_SECONDS = 10.0
_MAX_ANSWER_BYTES = 1 << 20
# How old what the provider says of itself becomes before it is asked again.
_CONFIGURATION_SECONDS = 300.0

_log = structlog.get_logger("asgard.auth")

Form = Mapping[str, str]
Send = Callable[[str, Form, Mapping[str, str]], Awaitable[tuple[int, Any]]]
"""Posts a form with headers to an address; answers status and JSON. Raises `OSError`,
`ValueError`."""


class SignInRefusedError(Exception):
    """The provider does not sign in, or not as it was asked. Says why, without any secret."""


@dataclass(frozen=True, slots=True)
class Client:
    """What the provider knows us as. `secret` None: a public client."""

    issuer: str
    id: str
    secret: str | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that has begun: what its answer must fit."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Granted:
    """What the provider gives: an ID token, with its claims, and where it does a refresh token."""

    token: str
    claims: Claims
    refresh_token: str = ""


class RelyingParty:
    """One client of one provider. `tokens` reads ID tokens that are meant for it."""

    def __init__(
        self,
        client: Client,
        tokens: Tokens,
        *,
        fetch: Fetch = fetched,
        send: Send | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._fetch = fetch
        self._send = send or posted
        self._monotonic = monotonic
        self._said: Mapping[str, Any] = {}
        self._asked_at = -_CONFIGURATION_SECONDS

    @property
    def issuer(self) -> str:
        """Whose client it is."""
        return self._client.issuer

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where the browser is sent to sign in. Raises `StorageUnavailableError`."""
        digest = sha256(attempt.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._client.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return _with(await self._endpoint("authorization_endpoint"), asked)

    async def exchange(self, code: str, attempt: Attempt, redirect_uri: str) -> Granted:
        """Give the code for tokens. Raises `SignInRefusedError`, `StorageUnavailableError`."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
        }
        granted = await self._granted(form)
        if granted.claims.values.get("nonce") != attempt.nonce:
            raise SignInRefusedError("the ID token has another nonce than was asked for")
        return granted

    async def refresh(self, refresh_token: str, sub: str) -> Granted:
        """Get a newer ID token of the same person. Raises as `exchange` does."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        granted = await self._granted(form)
        if granted.claims.sub != sub:
            raise SignInRefusedError("the newer ID token is somebody else's")
        return Granted(granted.token, granted.claims, granted.refresh_token or refresh_token)

    async def revoke(self, refresh_token: str) -> None:
        """Say that a refresh token is not needed any more, where the provider takes that."""
        try:
            said = await self._configuration()
            where = said.get("revocation_endpoint")
            if isinstance(where, str):
                form = {"token": refresh_token, "token_type_hint": "refresh_token"}
                status, _ = await self._sent(where, form)
                if status != 200:
                    _log.warning("refresh_token_not_revoked", status=status)
        except (StorageUnavailableError, SignInRefusedError) as error:
            _log.warning("refresh_token_not_revoked", error=str(error))

    async def end_address(self, redirect_uri: str) -> str | None:
        """Where the browser is sent to sign out at the provider, too; None where that is nowhere.

        Without `id_token_hint`, which would put a token into an address.
        """
        try:
            where = (await self._configuration()).get("end_session_endpoint")
        except StorageUnavailableError:
            return None
        if not isinstance(where, str):
            return None
        asked = {"client_id": self._client.id, "post_logout_redirect_uri": redirect_uri}
        return _with(where, asked)

    async def _granted(self, form: Form) -> Granted:
        status, said = await self._sent(await self._endpoint("token_endpoint"), form)
        if status != 200 or not isinstance(said, dict):
            error = said.get("error") if isinstance(said, dict) else None
            raise SignInRefusedError(
                f"the provider answers {status} {str(error or '')[:80]}".strip()
            )
        token, refresh_token = said.get("id_token"), said.get("refresh_token", "")
        if not isinstance(token, str) or not isinstance(refresh_token, str):
            raise SignInRefusedError("the provider's answer has no ID token")
        try:
            claims = await self._tokens.claims(token)
        except UnauthenticatedError as error:
            raise SignInRefusedError(str(error)) from error
        return Granted(token, claims, refresh_token)

    async def _sent(self, where: str, form: Form) -> tuple[int, Any]:
        """Post a form as this client. Raises `StorageUnavailableError`."""
        client, headers = self._client, {}
        form = {**form, "client_id": client.id}
        if client.secret is not None:
            taken = (await self._configuration()).get("token_endpoint_auth_methods_supported")
            if isinstance(taken, list) and "client_secret_basic" not in taken:
                form["client_secret"] = client.secret
            else:  # what is taken where nothing is said (OpenID Connect Discovery 3)
                pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
                headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        try:
            return await self._send(where, form, headers)
        except (OSError, ValueError) as error:
            raise self._away() from error

    async def _endpoint(self, name: str) -> str:
        where = (await self._configuration()).get(name)
        if not isinstance(where, str) or urlsplit(where).scheme not in ("http", "https"):
            raise self._away()
        return where

    async def _configuration(self) -> Mapping[str, Any]:
        if self._said and self._monotonic() - self._asked_at < _CONFIGURATION_SECONDS:
            return self._said
        try:
            self._said = await configuration(self._client.issuer, self._fetch)
            self._asked_at = self._monotonic()
        except (OSError, ValueError, LookupError, TypeError) as error:
            _log.warning("oidc_provider_not_asked", issuer=self._client.issuer, error=str(error))
            if not self._said:
                raise self._away() from error
        return self._said

    def _away(self) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"identity provider {self._client.issuer}",
            "it does not answer as a provider does; is ASGARD_OIDC_ISSUER right?",
            passing=True,
        )


async def posted(where: str, form: Form, headers: Mapping[str, str]) -> tuple[int, Any]:
    """The `Send` of a real provider."""
    return await asyncio.to_thread(_posted, where, form, headers)


def _posted(where: str, form: Form, headers: Mapping[str, str]) -> tuple[int, Any]:
    if not where.startswith(("http://", "https://")):
        raise ValueError("not an address of http or https")
    said = {"accept": "application/json", **headers}
    asked = urllib.request.Request(where, urlencode(form).encode(), said)  # noqa: S310 - looked at above
    try:
        with OPENER.open(asked, timeout=_SEND_SECONDS) as answer:
            return answer.status, _json(answer.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read(_MAX_ANSWER_BYTES))


def _json(body: bytes) -> Any:
    """The JSON of a body, None where it is none: the answer of a proxy, or none at all."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def _with(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(query)}"
