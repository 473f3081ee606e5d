"""What a provider is asked when a browser signs in, and which of its answers are taken."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgard_server.auth.code_flow import Attempt, Client, RelyingParty, SignInRefusedError
from asgard_server.auth.oidc import Provider, Tokens
from gimle.asgard.core.errors import StorageUnavailableError
from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER = "https://login.example.org/realms/lab"
KEY = RSAKey.generate_key(2048, {"kid": "first"})
ATTEMPT = Attempt("state", "nonce", "v" * 43)
BACK = "https://asgard.example.org/auth/callback"


class FakeProvider:
    """A provider's documents and its token endpoint; `said` is what that answers."""

    def __init__(self, **configuration: Any) -> None:
        self.configuration = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/keys",
            "authorization_endpoint": f"{ISSUER}/auth?kept=1",
            "token_endpoint": f"{ISSUER}/token",
            **configuration,
        }
        self.away = False
        self.status = 200
        self.said: Any = None
        self.sent: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = []

    async def fetch(self, url: str) -> Any:
        if self.away:
            raise OSError("away")
        if url.endswith("/.well-known/openid-configuration"):
            return self.configuration
        return {"keys": [KEY.as_dict(private=False)]}

    async def send(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        if self.away:
            raise OSError("away")
        self.sent.append((url, form, headers))
        return self.status, self.said

    def party(self, secret: str | None = None) -> RelyingParty:
        tokens = Tokens(Provider(ISSUER, ("asgard",)), fetch=self.fetch)
        client = Client(ISSUER, "asgard", secret)
        return RelyingParty(client, tokens, fetch=self.fetch, send=self.send)


def token(**claims: Any) -> str:
    said = {"iss": ISSUER, "sub": "alice", "aud": "asgard", "exp": int(time.time()) + 300}
    return jwt.encode({"alg": "RS256", "kid": "first"}, said | claims, KEY)


async def test_what_is_in_the_address_of_the_provider_stays_there() -> None:
    where = urlsplit(await FakeProvider().party().address(ATTEMPT, BACK))
    asked = parse_qs(where.query)
    assert asked["kept"] == ["1"]
    assert asked["redirect_uri"] == [BACK]
    assert asked["scope"] == ["openid profile email"]
    assert ATTEMPT.verifier not in where.query


@pytest.mark.parametrize(
    ("methods", "by_header"),
    [
        (None, True), (["client_secret_basic", "client_secret_post"], True),
        (["client_secret_post"], False),
    ],
)  # fmt: skip
async def test_a_secret_is_shown_as_the_provider_takes_it(
    methods: list[str] | None, by_header: bool
) -> None:
    more = {} if methods is None else {"token_endpoint_auth_methods_supported": methods}
    provider = FakeProvider(**more)
    provider.said = {"id_token": token(nonce="nonce")}
    await provider.party("a secret: %").exchange("code", ATTEMPT, BACK)
    _, form, headers = provider.sent[0]
    assert (form["code"], form["code_verifier"]) == ("code", ATTEMPT.verifier)
    if by_header:
        kind, _, pair = headers["authorization"].partition(" ")
        assert (kind, b64decode(pair)) == ("Basic", b"asgard:a+secret%3A+%25")
        assert "client_secret" not in form
    else:
        assert form["client_secret"] == "a secret: %"
        assert "authorization" not in headers


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": "invalid_grant"}), (200, None), (200, []), (200, {"access_token": "a"}),
        (200, {"id_token": 7}), (200, {"id_token": "no.jwt.at-all"}), (502, None),
    ],
)  # fmt: skip
async def test_an_answer_without_a_good_token_signs_nobody_in(status: int, said: Any) -> None:
    provider = FakeProvider()
    provider.status, provider.said = status, said
    with pytest.raises(SignInRefusedError):
        await provider.party().exchange("code", ATTEMPT, BACK)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {}, {"nonce": "nonce", "aud": "another"},
        {"nonce": "nonce", "iss": "https://elsewhere.example"},
        {"nonce": "nonce", "exp": int(time.time()) - 3_600},
    ],
)  # fmt: skip
async def test_a_token_that_was_not_asked_for_signs_nobody_in(claims: dict[str, Any]) -> None:
    provider = FakeProvider()
    provider.said = {"id_token": token(**claims)}
    with pytest.raises(SignInRefusedError):
        await provider.party().exchange("code", ATTEMPT, BACK)


async def test_a_renewal_is_of_the_same_person_and_keeps_a_refresh_token_that_stays() -> None:
    provider = FakeProvider()
    provider.said = {"id_token": token()}
    assert (await provider.party().refresh("kept", "alice")).refresh_token == "kept"
    provider.said = {"id_token": token(), "refresh_token": "newer"}
    assert (await provider.party().refresh("kept", "alice")).refresh_token == "newer"
    provider.said = {"id_token": token(sub="bob")}
    with pytest.raises(SignInRefusedError):
        await provider.party().refresh("kept", "alice")


async def test_a_provider_that_is_away_is_said_to_be_and_signing_out_goes_on() -> None:
    provider = FakeProvider()
    party = provider.party()
    provider.away = True
    with pytest.raises(StorageUnavailableError):
        await party.address(ATTEMPT, BACK)
    with pytest.raises(StorageUnavailableError):
        await party.exchange("code", ATTEMPT, BACK)
    assert await party.end_address("https://asgard.example.org/") is None
    await party.revoke("refresh")


async def test_a_refresh_token_is_revoked_where_the_provider_takes_that() -> None:
    provider = FakeProvider(
        revocation_endpoint=f"{ISSUER}/revoke", end_session_endpoint=f"{ISSUER}/end"
    )
    party = provider.party()
    await party.revoke("refresh")
    where, form, _ = provider.sent[0]
    assert (where, form["token"]) == (f"{ISSUER}/revoke", "refresh")
    end = await party.end_address("https://asgard.example.org/")
    assert end is not None
    assert parse_qs(urlsplit(end).query) == {
        "client_id": ["asgard"], "post_logout_redirect_uri": ["https://asgard.example.org/"],
    }  # fmt: skip


async def test_documents_that_speak_for_another_issuer_are_not_taken() -> None:
    provider = FakeProvider(issuer="https://elsewhere.example")
    with pytest.raises(StorageUnavailableError):
        await provider.party().address(ATTEMPT, BACK)
