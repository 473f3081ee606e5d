"""Rows of the table of settings that say how callers are identified, and what they say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_server.settings import parsing
from asgard_server.settings.errors import SettingError
from asgard_server.settings.rows import row

if TYPE_CHECKING:
    from asgard_server.settings.table import Settings

_EVERYWHERE = "run asset blob gateway all"
_IDENTITY = "asset all"

# A key that services know each other by is not guessed.
_LEAST_KEY_CHARACTERS = 16


def _service_key(name: str, given: str) -> str:
    if len(given) < _LEAST_KEY_CHARACTERS or not given.isascii() or not given.isprintable():
        raise SettingError(
            name,
            "is too short, or has characters that no header has",
            f"give {_LEAST_KEY_CHARACTERS} random characters or more: openssl rand -hex 32",
        )
    return given


def _issuer(name: str, given: str) -> str:
    read = parsing.url("https", "http", example="https://login.example.org/realms/lab")
    return str(read(name, given))


AUTH = row(
    parsing.one_of("local", "required"),
    "`local`: nobody has to say who they are, and whoever does not is the local user, who may do "
    "everything. `required`: every call shows an API key or a token of ASGARD_OIDC_ISSUER.",
    services=_EVERYWHERE,
)
IDENTITY_ADDRESS = row(
    parsing.text,
    "Where IdentityService is: any gRPC target, such as "
    "`dns:///asgard-asset:50052`. It is asked who shows a key or token.",
    services="run blob gateway",
    usually="unset: nobody is asked; ASGARD_AUTH=required needs it",
)
SERVICE_KEY = row(
    _service_key,
    "The secret by which services know each other: the same for all of them, and for nobody else.",
    services=_EVERYWHERE,
    usually="unset: by their certificates (ASGARD_SERVICE_NAMES)",
    hidden="whole",
)
SERVICE_NAMES = row(
    parsing.words,
    "Names in the certificates of services, with commas between them: who shows one of these "
    "(ASGARD_TLS_CA_FILE) is believed to be a service.",
    services=_EVERYWHERE,
    usually="none",
)
ADMINS = row(
    parsing.words,
    "Ids of users, with commas between them, who administer users, organisations and teams and "
    "read the audit. They see nothing private by that.",
    services=_IDENTITY,
    usually="none",
)
OIDC_ISSUER = row(
    _issuer,
    "The OIDC provider whose tokens are taken: its URL as it stands in them.",
    services="asset gateway all",
    usually="unset: API keys only",
)
OIDC_AUDIENCE = row(
    parsing.words,
    "Whom tokens must be meant for (`aud`): what the provider calls Asgard; several with commas "
    "between them. ASGARD_OIDC_CLIENT_ID is one besides.",
    services=_IDENTITY,
    usually="none; with ASGARD_OIDC_ISSUER this or ASGARD_OIDC_CLIENT_ID is needed",
)
OIDC_ORGANIZATIONS_CLAIM = row(
    parsing.text,
    "The claim that lists a user's organisations; one within another as `outer.inner`.",
    services=_IDENTITY,
    usually="unset: memberships are kept here alone",
)
OIDC_TEAMS_CLAIM = row(
    parsing.text,
    "The claim that lists a user's teams, as `ml-team` or `acme/ml-team`.",
    services=_IDENTITY,
    usually="unset: memberships are kept here alone",
)
OIDC_LEEWAY_SECONDS = row(
    parsing.whole(0, 600),
    "Seconds by which the provider's clock and this one may differ.",
    services=_IDENTITY,
)


def check(settings: Settings) -> None:
    """Check what these settings say together. Raises `SettingError`."""
    if settings.oidc_issuer is not None and not audiences(settings):
        raise SettingError(
            "ASGARD_OIDC_ISSUER",
            "is set and neither ASGARD_OIDC_AUDIENCE nor ASGARD_OIDC_CLIENT_ID is",
            "say whom tokens must be meant for: else those for other programs would be taken",
        )
    if settings.service_names and settings.tls_ca_file is None:
        raise SettingError(
            "ASGARD_SERVICE_NAMES",
            "is set and ASGARD_TLS_CA_FILE is not",
            "names are read in certificates: give the file of who signs them",
        )


def audiences(settings: Settings) -> tuple[str, ...]:
    """Whom a token may be meant for: ASGARD_OIDC_AUDIENCE, and who signs browsers in."""
    client = () if settings.oidc_client_id is None else (settings.oidc_client_id,)
    return tuple(dict.fromkeys((*settings.oidc_audience, *client)))


def check_can_ask(settings: Settings) -> None:
    """Check that a process without IdentityService can ask it. Raises `SettingError`."""
    if settings.auth == "local" and settings.identity_address is None:
        return
    if settings.identity_address is None:
        raise SettingError(
            "ASGARD_AUTH",
            "is required and ASGARD_IDENTITY_ADDRESS is not set",
            "say where IdentityService is, which knows keys and tokens",
        )
    if settings.service_key is None and not settings.service_names:
        raise SettingError(
            "ASGARD_IDENTITY_ADDRESS",
            "is set and ASGARD_SERVICE_KEY is not",
            "give all services the same key, by which they know each other",
        )
