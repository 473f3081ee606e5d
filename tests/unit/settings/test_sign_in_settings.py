"""How browsers sign in, as settings say it, and what of that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from asgard_server.settings import SettingError, Settings
from asgard_server.settings.sign_in import check_can_sign_in
from asgard_server.settings.who import audiences

from tests.cluster.processes import asgard

ISSUER = {"ASGARD_OIDC_ISSUER": "https://login.example.org/realms/lab"}
CLIENT = {**ISSUER, "ASGARD_OIDC_CLIENT_ID": "asgard"}
REQUIRED = {"ASGARD_AUTH": "required"}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"ASGARD_SESSION_KEY": "k" * 31}, "32 characters or more"),
        ({"ASGARD_SESSION_KEY": "k" * 32 + ",short"}, "32 characters or more"),
        ({"ASGARD_SESSION_KEY": ","}, "one to 4 keys"),
        ({"ASGARD_SESSION_KEY": "\u00e4" * 32}, "openssl rand -hex 32"),
        ({"ASGARD_OIDC_CLIENT_ID": "asgard"}, "ASGARD_OIDC_ISSUER is not"),
        ({**ISSUER, "ASGARD_OIDC_AUDIENCE": "a", "ASGARD_OIDC_CLIENT_SECRET": "s"}, "whose secret"),
        ({**CLIENT, "ASGARD_OIDC_SCOPES": "profile"}, "without openid"),
        (ISSUER, "neither ASGARD_OIDC_AUDIENCE nor ASGARD_OIDC_CLIENT_ID"),
    ],
)  # fmt: skip
def test_what_signs_nobody_in_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingError, match=words) as refused:
        Settings.from_environment(environ)
    assert "kkk" not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({**CLIENT, **REQUIRED}, "ASGARD_SESSION_KEY is not"),
        ({**CLIENT, "ASGARD_SESSION_KEY": "k" * 32}, "nobody would be asked"),
    ],
)
@pytest.mark.parametrize("command", ["gateway", "all"])
async def test_a_gateway_does_not_start_that_could_not_keep_who_signs_in(
    tmp_path: Path, environ: dict[str, str], words: str, command: str
) -> None:
    with pytest.raises(SettingError, match=words):
        check_can_sign_in(Settings.from_environment(environ))
    free = {f"ASGARD_{name}": "0" for name in ("PORT", "GRPC_PORT", "METRICS_PORT")}
    more = {"ASGARD_IDENTITY_ADDRESS": "localhost:1", "ASGARD_SERVICE_KEY": "s" * 32}
    told = await asgard("serve", command, cwd=tmp_path, **free, **more, **environ)
    assert told.returncode == 1
    assert words in told.stderr


def test_tokens_for_the_client_are_taken_beside_those_for_others() -> None:
    assert audiences(Settings.from_environment(CLIENT)) == ("asgard",)
    both = Settings.from_environment({**CLIENT, "ASGARD_OIDC_AUDIENCE": "api,asgard"})
    assert audiences(both) == ("api", "asgard")
