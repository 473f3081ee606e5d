"""Which tokens of a provider are taken, and which are not."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from asgard_server.auth.oidc import Provider, Tokens
from gimle.asgard.core.access_errors import TokenExpiredError, UnauthenticatedError
from gimle.asgard.core.errors import StorageUnavailableError
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

ISSUER = "https://login.example.org/realms/lab"
NOW = 1_800_000_000
FIRST, SECOND = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("first", "second"))
CURVE = ECKey.generate_key("P-256", {"kid": "curve"})
ENCRYPTING = RSAKey.generate_key(2048, {"kid": "encrypting", "use": "enc"})


class Served:
    """The provider's documents, and how often they were asked for."""

    def __init__(self, *keys: Any) -> None:
        self.keys = keys or (FIRST,)
        self.asked = 0
        self.issuer = ISSUER
        self.away = False

    async def __call__(self, url: str) -> Any:
        self.asked += 1
        if self.away:
            raise OSError("away")
        if url.endswith("/.well-known/openid-configuration"):
            return {"issuer": self.issuer, "jwks_uri": f"{ISSUER}/keys"}
        assert url == f"{ISSUER}/keys"
        return {"keys": [key.as_dict(private=False) for key in self.keys]}


class Clock:
    def __init__(self) -> None:
        self.passed = 0.0

    def time(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return self.passed


def tokens_of(served: Served, clock: Clock | None = None, leeway: int = 60) -> Tokens:
    clock = clock or Clock()
    provider = Provider(ISSUER, ("asgard",), leeway)
    return Tokens(provider, fetch=served, clock=clock.time, monotonic=clock.monotonic)


def signed(key: Any = FIRST, *, alg: str = "RS256", header: Any = None, **claims: Any) -> str:
    said = {"iss": ISSUER, "aud": "asgard", "sub": "alice", "exp": NOW + 300, "iat": NOW, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    named = {"alg": alg, "kid": key.kid} if header is None else header
    return jwt.encode(named, said, key, algorithms=[alg])


async def test_a_token_of_the_provider_says_who_it_is() -> None:
    claims = await tokens_of(Served()).claims(signed(groups=["acme"]))
    assert (claims.sub, claims.values["groups"]) == ("alice", ["acme"])
    assert claims.expires_at.timestamp() == NOW + 300 + 60


@pytest.mark.parametrize(("key", "alg"), [(FIRST, "PS256"), (FIRST, "RS512"), (CURVE, "ES256")])
async def test_every_signature_by_a_key_of_its_own_is_taken(key: Any, alg: str) -> None:
    assert (await tokens_of(Served(FIRST, CURVE)).claims(signed(key, alg=alg))).sub == "alice"


async def refused(token: str, *, match: str | None = None, served: Served | None = None) -> None:
    with pytest.raises(UnauthenticatedError, match=match):
        await tokens_of(served or Served()).claims(token)


async def test_a_forged_token_is_refused() -> None:
    forger = RSAKey.generate_key(2048, {"kid": "first"})
    await refused(signed(forger), match="signature")
    header, payload, signature = signed().split(".")
    other = encoded({"iss": ISSUER, "aud": "asgard", "sub": "root", "exp": NOW + 300})
    await refused(f"{header}.{other}.{signature}", match="signature")
    await refused(f"{header}.{payload}.{signature[:-8]}AAAAAAAA", match="signature")
    await refused(f"{header}.{payload}.")


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
async def test_a_token_that_is_not_signed_is_refused(alg: str) -> None:
    said = {"iss": ISSUER, "aud": "asgard", "sub": "root", "exp": NOW + 300}
    for signature in ("", "AAAA"):
        for header in ({"alg": alg}, {"alg": alg, "kid": "first"}, {}):
            await refused(f"{encoded(header)}.{encoded(said)}.{signature}")


async def test_the_public_key_is_no_secret_to_sign_by() -> None:
    secret = FIRST.as_pem(private=False)
    said = {"iss": ISSUER, "aud": "asgard", "sub": "root", "exp": NOW + 300}
    body = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{encoded(said)}"
    digest = hmac.digest(secret, body.encode(), "sha256")
    token = f"{body}.{urlsafe_b64encode(digest).decode().rstrip('=')}"
    await refused(token, match="HS256")


async def test_a_key_that_the_token_brings_along_is_not_believed() -> None:
    forger = RSAKey.generate_key(2048)
    for brought in ({"jwk": forger.as_dict(private=False)}, {"jku": "https://evil.example/keys"}):
        await refused(signed(forger, header={"alg": "RS256", "kid": "first", **brought}))


async def test_a_key_to_encrypt_with_signs_nothing() -> None:
    unsaid = {
        name: value for name, value in ENCRYPTING.as_dict(private=True).items() if name != "use"
    }
    token = signed(RSAKey.import_key(unsaid))
    await refused(token, served=Served(FIRST, ENCRYPTING))


async def test_beside_a_key_to_encrypt_with_the_one_that_signs_needs_no_name() -> None:
    tokens = tokens_of(Served(FIRST, ENCRYPTING))
    assert (await tokens.claims(signed(header={"alg": "RS256"}))).sub == "alice"


async def test_what_must_be_understood_and_is_not_is_refused() -> None:
    header = {"alg": "RS256", "kid": "first", "crit": ["exp"], "exp": 1}
    with pytest.raises(Exception):  # noqa: B017, PT011 - the library does not even sign it
        signed(header=header)
    _, payload, signature = signed().split(".")
    await refused(f"{encoded(header)}.{payload}.{signature}")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": None},
        {"aud": ""},
        {"aud": 7},
        {"iss": "https://login.example.org/realms/other"},
        {"iss": f"{ISSUER}/"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": 10**30},
        {"exp": 1e300},
        {"nbf": NOW + 61},
        {"iat": NOW + 61},
    ],
    ids=str,
)
async def test_a_token_for_others_or_of_others_is_refused(claims: dict[str, Any]) -> None:
    await refused(signed(**claims))


async def test_one_of_several_audiences_is_enough() -> None:
    assert (await tokens_of(Served()).claims(signed(aud=["other", "asgard"]))).sub == "alice"


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c", "a.b.c.d.e", "\x00.\x00.\x00", "..", "ä.ö.ü"]
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    await refused(token)


async def test_a_token_of_many_kilobytes_is_not_even_read() -> None:
    await refused(signed(filler="x" * 20_000), match="too long")


async def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    for leeway in (0, 60):
        tokens = tokens_of(Served(), leeway=leeway)
        claims = await tokens.claims(signed(exp=NOW - leeway + 1))
        # And until then it is believed like any other, not looked up for every call.
        assert (claims.sub, claims.expires_at.timestamp()) == ("alice", NOW + 1)
        assert (await tokens.claims(signed(nbf=NOW + leeway, iat=NOW + leeway))).sub == "alice"
        with pytest.raises(TokenExpiredError):
            await tokens.claims(signed(exp=NOW - leeway))
        with pytest.raises(UnauthenticatedError):
            await tokens.claims(signed(nbf=NOW + leeway + 1))


async def test_a_new_key_is_asked_for_at_once_and_an_unknown_one_not_again_and_again() -> None:
    served, clock = Served(), Clock()
    tokens = tokens_of(served, clock)
    await tokens.claims(signed())
    assert served.asked == 2
    served.keys = (FIRST, SECOND)
    clock.passed = 10
    assert (await tokens.claims(signed(SECOND))).sub == "alice"
    assert served.asked == 4
    stranger = RSAKey.generate_key(2048, {"kid": "stranger"})
    for _ in range(20):
        with pytest.raises(UnauthenticatedError):
            await tokens.claims(signed(stranger))
    assert served.asked == 4
    clock.passed = 12
    for _ in range(20):
        with pytest.raises(UnauthenticatedError):
            await tokens.claims(signed(stranger))
    assert served.asked == 6


async def test_a_token_without_a_kid_may_be_signed_by_a_newer_key() -> None:
    served, clock = Served(), Clock()
    tokens = tokens_of(served, clock)
    await tokens.claims(signed(header={"alg": "RS256"}))
    served.keys = (SECOND,)
    clock.passed = 10
    assert (await tokens.claims(signed(SECOND, header={"alg": "RS256"}))).sub == "alice"


async def test_a_withdrawn_key_is_believed_for_five_minutes_at_most() -> None:
    served, clock = Served(FIRST, SECOND), Clock()
    tokens = tokens_of(served, clock)
    await tokens.claims(signed())
    served.keys = (SECOND,)
    clock.passed = 299
    await tokens.claims(signed(exp=NOW + 600))
    clock.passed = 300
    with pytest.raises(UnauthenticatedError):
        await tokens.claims(signed(exp=NOW + 600))


async def test_while_the_provider_is_away_its_last_keys_are_used() -> None:
    served, clock = Served(), Clock()
    tokens = tokens_of(served, clock)
    served.away = True
    with pytest.raises(StorageUnavailableError, match="ASGARD_OIDC_ISSUER"):
        await tokens.claims(signed())
    served.away, clock.passed = False, 5
    await tokens.claims(signed())
    served.away, clock.passed = True, 290
    await tokens.claims(signed())
    clock.passed = 400
    await tokens.claims(signed(exp=NOW + 900))


async def test_documents_that_speak_for_another_issuer_are_not_believed() -> None:
    served = Served()
    served.issuer = "https://evil.example"
    with pytest.raises(StorageUnavailableError):
        await tokens_of(served).claims(signed())
