"""How callers say who they are, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from asgard_server.gateway.sign_in.cookies import SESSION

Json = dict[str, Any]

SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (sk_user_, sk_agent_, sk_worker_), or a token of the OIDC "
        "provider of this server.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": f"__Host-{SESSION}",
        "description": "Of a browser that has signed in at /auth/login or /auth/key; on this "
        f"machine it is called {SESSION}. A change by it needs the header Origin of the page "
        "itself, or X-Asgard-Request.",
    },
}

# For what everybody may ask for.
NOBODY: list[Json] = []


def of_callers(*, asks: bool) -> list[Json]:
    """What a call shows, one of these; nothing too, where nobody is asked."""
    shown: list[Json] = [{name: []} for name in SCHEMES]
    return shown if asks else [*shown, {}]
