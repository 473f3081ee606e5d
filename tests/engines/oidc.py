"""An OIDC provider for tests, a process of its own: people sign in there, and get tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.conftest import free_port
from tests.engines.running import Engine

CLIENT = "asgard"
_REDIRECT = "http://localhost/signed-in"


class Provider(Engine):
    """A provider that knows `people`: their claims, with `sub`. Started again it has new keys."""

    def __init__(self, *people: dict[str, Any], seconds: int = 3_600) -> None:
        super().__init__("oidc-provider-mock")
        self.port = free_port()
        self._people = people
        self._seconds = seconds

    @property
    def issuer(self) -> str:
        """Its URL, as it stands in tokens."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        known = [part for one in self._people for part in ("--user-claims", json.dumps(one))]
        return [
            *(sys.executable, "-W", "ignore", "-m", "oidc_provider_mock"),
            *("--port", str(self.port), "--token-max-age", str(self._seconds), *known),
        ]

    def answers(self) -> bool:
        """Whether it takes requests."""
        try:
            return httpx.get(f"{self.issuer}/jwks").status_code == 200
        except httpx.HTTPError:
            return False

    def now_says(self, sub: str, **claims: Any) -> None:
        """Say something else of a person from now on."""
        answer = httpx.put(f"{self.issuer}/users/{sub}", json=claims)
        assert answer.status_code == 204, answer.text

    def token(self, sub: str, *, client: str = CLIENT) -> str:
        """Sign a person in at a client; answer the token that says who they are."""
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": _REDIRECT,
            "scope": "openid profile email",
            "nonce": free_nonce(),
        }
        address = f"{self.issuer}/oauth2/authorize"
        sent_back = httpx.post(address, params=asked, data={"sub": sub}).headers["location"]
        code = parse_qs(urlsplit(sent_back).query)["code"][0]
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": _REDIRECT,
            "client_id": client,
            "client_secret": "any",
        }
        answer = httpx.post(f"{self.issuer}/oauth2/token", data=given)
        token: str = answer.json()["id_token"]
        return token


class StrictProvider(Provider):
    """A provider that checks PKCE, and renews ID tokens; see strict_oidc.py."""

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        known = [json.dumps(one) for one in self._people]
        script = str(Path(__file__).with_name("strict_oidc.py"))
        return [sys.executable, script, str(self.port), str(self._seconds), *known]

    def end_sessions(self) -> None:
        """Renew nobody's token any more."""
        assert httpx.post(f"{self.issuer}/end").status_code == 200

    def calls(self) -> list[dict[str, Any]]:
        """What the token endpoint was asked: grant_type, secret, characters of the verifier."""
        found: list[dict[str, Any]] = httpx.get(f"{self.issuer}/calls").json()
        return found

    def signs_in(self, address: str, sub: str) -> str:
        """Sign a person in at the address a browser was sent to; answer where it is sent back."""
        answer = httpx.post(address, data={"sub": sub})
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])


def free_nonce() -> str:
    """A nonce that was not used before."""
    _count.append(0)
    return f"nonce-{len(_count)}"


_count: list[int] = []
