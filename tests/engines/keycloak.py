"""Keycloak, as `make soak` brings it: a provider of the kind that organisations run."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_port
from tests.engines.running import Engine

CLIENT, PERSON, PASSWORD = "asgard", "alice", "a password of a test"
# The life of a token here: a page that is looked at for longer has lived through a renewal.
TOKEN_SECONDS = 20
_HOMES = Path(__file__).resolve().parents[2] / ".cache" / "keycloak"
_ADMIN = "admin-of-tests"

_REALM: dict[str, Any] = {
    "realm": "lab",
    "enabled": True,
    "sslRequired": "none",
    "accessTokenLifespan": TOKEN_SECONDS,
    "clients": [
        {
            "clientId": CLIENT,
            "enabled": True,
            "publicClient": True,
            "redirectUris": ["http://127.0.0.1:*", "http://localhost:*"],
            "attributes": {
                "pkce.code.challenge.method": "S256",
                "post.logout.redirect.uris": "+",
            },
            "protocolMappers": [
                {
                    "name": "groups",
                    "protocol": "openid-connect",
                    "protocolMapper": "oidc-group-membership-mapper",
                    "config": {
                        "claim.name": "groups",
                        "full.path": "true",
                        "id.token.claim": "true",
                    },
                }
            ],
        }
    ],
    "groups": [{"name": "acme"}],
    "users": [
        {
            "username": PERSON,
            "enabled": True,
            "email": "alice@example.org",
            "emailVerified": True,
            "firstName": "Alice",
            "lastName": "Ames",
            "credentials": [{"type": "password", "value": PASSWORD}],
            "groups": ["/acme"],
        }
    ],
}


class Keycloak(Engine):
    """A realm with one client and one person. `.ci/setup-keycloak` has brought the program."""

    # It builds itself at its first start.
    starts_within_s = 400.0
    # Its script passes this on to Java; killed itself, it leaves that running.
    ends_by = signal.SIGTERM

    def __init__(self) -> None:
        environment = {
            "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
        }
        super().__init__("keycloak", environment)
        self.port = free_port()
        self._home = max(_HOMES.glob("keycloak-*"))
        realms = self._home / "data" / "import"
        realms.mkdir(parents=True, exist_ok=True)
        (realms / "lab.json").write_text(json.dumps(_REALM))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        """The realm's URL, as it stands in tokens."""
        return f"{self.url}/realms/lab"

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        return [
            *(str(self._home / "bin" / "kc.sh"), "start-dev", "--db", "dev-mem", "--import-realm"),
            *("--http-host", "127.0.0.1", "--http-port", str(self.port)),
        ]

    def answers(self) -> bool:
        """Whether it takes requests."""
        try:
            where = f"{self.issuer}/.well-known/openid-configuration"
            return httpx.get(where, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def remove(self) -> None:
        """End it as it ends by itself, and remove what it wrote."""
        self.stop()
        super().remove()

    def end_sessions(self) -> None:
        """End all sessions of the person, as an administrator does."""
        form = {"grant_type": "password", "client_id": "admin-cli"}
        form |= {"username": _ADMIN, "password": PASSWORD}
        where = f"{self.url}/realms/master/protocol/openid-connect/token"
        token = httpx.post(where, data=form).json()["access_token"]
        with httpx.Client(headers={"authorization": f"Bearer {token}"}) as admin:
            users = admin.get(f"{self.url}/admin/realms/lab/users").json()
            for user in users:
                ended = admin.post(f"{self.url}/admin/realms/lab/users/{user['id']}/logout")
                assert ended.status_code == 204, ended.text
