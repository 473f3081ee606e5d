"""Rows of the table of settings that say how browsers sign in, and what they say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_server.settings import parsing
from asgard_server.settings.errors import SettingError
from asgard_server.settings.rows import row

if TYPE_CHECKING:
    from asgard_server.settings.table import Settings

_PAGE = "gateway all"

# What seals sessions is not guessed: 32 characters of hexadecimal digits are 128 bits.
_LEAST_KEY_CHARACTERS = 32
_MOST_KEYS = 4


def _session_key(name: str, given: str) -> tuple[str, ...]:
    keys = parsing.words(name, given)
    if not keys or len(keys) > _MOST_KEYS or any(not _is_key(key) for key in keys):
        raise SettingError(
            name,
            f"is not one to {_MOST_KEYS} keys of {_LEAST_KEY_CHARACTERS} characters or more, with"
            " commas between them",
            "make one: openssl rand -hex 32",
        )
    return keys


def _is_key(text: str) -> bool:
    return len(text) >= _LEAST_KEY_CHARACTERS and text.isascii() and text.isprintable()


OIDC_CLIENT_ID = row(
    parsing.text,
    "What the provider of ASGARD_OIDC_ISSUER calls the page, whose browsers sign in there; its "
    "redirect URI is `/auth/callback`.",
    services="asset gateway all",
    usually="unset: browsers sign in by an API key",
)
OIDC_CLIENT_SECRET = row(
    parsing.text,
    "The secret of ASGARD_OIDC_CLIENT_ID.",
    services=_PAGE,
    usually="unset: a public client, by PKCE alone",
    hidden="whole",
)
OIDC_SCOPES = row(
    parsing.words,
    "The scopes that a sign-in asks for, with commas between them; `openid` is one.",
    services=_PAGE,
    usually="`openid,profile,email`",
)
SESSION_KEY = row(
    _session_key,
    "The secret that seals the cookie of who has signed in: the same for all gateways. Of several, "
    "with commas between them, the first seals and each opens, so that a key is changed without "
    "ending sessions: `new,old`.",
    services=_PAGE,
    usually="unset: `gateway` signs nobody in, `all` until it stops",
    hidden="whole",
)
SESSION_HOURS = row(
    parsing.whole(1, 8_760),
    "Hours after which one signs in again, whatever the provider says.",
    services=_PAGE,
)


def check(settings: Settings) -> None:
    """Check what these settings say together. Raises `SettingError`."""
    if settings.oidc_client_id is not None and settings.oidc_issuer is None:
        raise SettingError(
            "ASGARD_OIDC_CLIENT_ID",
            "is set and ASGARD_OIDC_ISSUER is not",
            "say whose client it is",
        )
    if settings.oidc_client_secret is not None and settings.oidc_client_id is None:
        raise SettingError(
            "ASGARD_OIDC_CLIENT_SECRET",
            "is set and ASGARD_OIDC_CLIENT_ID is not",
            "say whose secret it is",
        )
    if "openid" not in settings.oidc_scopes:
        raise SettingError(
            "ASGARD_OIDC_SCOPES",
            f"is {','.join(settings.oidc_scopes)}, without openid",
            "add it: else the provider does not say who signs in",
        )


def check_can_sign_in(settings: Settings) -> None:
    """Check that a gateway which is to sign browsers in can keep them so. Raises `SettingError`."""
    if settings.oidc_client_id is None:
        return
    if settings.auth != "required":
        raise SettingError(
            "ASGARD_OIDC_CLIENT_ID",
            f"is set and ASGARD_AUTH is {settings.auth}: nobody would be asked to sign in",
            "set ASGARD_AUTH=required, or leave the client out",
        )
    if not settings.session_key:
        raise SettingError(
            "ASGARD_OIDC_CLIENT_ID",
            "is set and ASGARD_SESSION_KEY is not",
            "give all gateways one key, which seals sessions: openssl rand -hex 32",
        )
