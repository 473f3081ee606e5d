"""oidc-provider-mock with what it leaves out: PKCE, newer ID tokens, and an end of sessions.

A process of its own: `python -m tests.engines.strict_oidc PORT SECONDS CLAIMS...`. Refresh tokens
are good once, as with providers that rotate them. POST /end ends all sessions; GET /calls tells
what the token endpoint was asked.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

warnings.simplefilter("ignore")

import authlib.oauth2.rfc6749.errors as errors  # noqa: E402 - quietly, as the line above says
import flask  # noqa: E402
import uvicorn  # noqa: E402
from authlib.integrations.flask_oauth2 import AuthorizationServer  # noqa: E402
from authlib.jose import jwt  # noqa: E402
from authlib.oauth2.rfc7636 import CodeChallenge  # noqa: E402
from oidc_provider_mock import _app  # noqa: E402
from oidc_provider_mock._storage import User, storage  # noqa: E402

_challenges: dict[str, str] = {}
_calls: list[dict[str, Any]] = []


class _Pkce(CodeChallenge):
    """S256 and nothing else, of whoever signs in."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        if not grant.request.payload.data.get("code_challenge"):
            raise errors.InvalidRequestError("Missing 'code_challenge'")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge(self, authorization_code: Any) -> Any:
        return _challenges.get(authorization_code.code)

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str:
        return "S256"


class _Codes(_app.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, request: Any) -> None:
        super().save_authorization_code(code, request)
        _challenges[code] = request.payload.data.get("code_challenge")


class _Refreshes(_app.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    def issue_token(self, user: Any, refresh_token: Any) -> Any:
        token = super().issue_token(user, refresh_token)
        seconds = flask.g.oidc_provider_mock_config.access_token_max_age
        made = _app.OpenIDCode(require_nonce=False, token_max_age=seconds)
        config = made.get_jwt_config(self)
        claims = made.generate_user_info(user, refresh_token.get_scope())
        token["id_token"] = _signed(config, claims, self.request.client.get_client_id())
        return token

    def revoke_old_credential(self, refresh_token: Any) -> None:
        super().revoke_old_credential(refresh_token)
        storage.remove_refresh_token(refresh_token.token)


def _signed(config: Any, claims: Any, audience: str) -> str:
    now = int(time.time())
    said = {**claims, "iss": config["iss"], "aud": audience, "iat": now, "exp": now + config["exp"]}
    token: bytes = jwt.encode({"alg": config["alg"]}, said, config["key"])
    return token.decode()


class _Server(AuthorizationServer):
    def register_grant(self, grant: Any, extensions: Any = None) -> None:
        if grant is _Codes:
            extensions = [*(extensions or ()), _Pkce(required=True)]
        super().register_grant(grant, extensions)


def application(seconds: int, people: list[dict[str, Any]]) -> flask.Flask:
    """The provider."""
    _app.AuthorizationCodeGrant = _Codes
    _app.RefreshTokenGrant = _Refreshes
    _app.flask_oauth2.AuthorizationServer = _Server
    users = [
        User(sub=one["sub"], claims={k: v for k, v in one.items() if k != "sub"}) for one in people
    ]
    made = _app.app(access_token_max_age=timedelta(seconds=seconds), user_claims=users)

    @made.before_request
    def note() -> None:
        if flask.request.path == "/oauth2/token":
            form = flask.request.form
            _calls.append(
                {
                    "grant_type": form.get("grant_type"),
                    "secret": flask.request.authorization is not None,
                    "verifier": len(form.get("code_verifier", "")),
                }
            )

    @made.after_request
    def with_state(answer: flask.Response) -> flask.Response:
        # Of who declines, too: RFC 6749, 4.1.2.1.
        state, where = flask.request.args.get("state"), answer.headers.get("location")
        if flask.request.path == "/oauth2/authorize" and where and state and "state=" not in where:
            answer.headers["location"] = f"{where}&{urlencode({'state': state})}"
        return answer

    @made.post("/end")
    def end() -> str:
        for each in list(storage.refresh_tokens()):
            storage.remove_refresh_token(each.token)
        return ""

    @made.get("/calls")
    def calls() -> flask.Response:
        return flask.jsonify(_calls)

    return made


if __name__ == "__main__":
    given = [json.loads(text) for text in sys.argv[3:]]
    uvicorn.run(
        application(int(sys.argv[2]), given),
        port=int(sys.argv[1]),
        interface="wsgi",
        log_level="warning",
    )
