"""A browser signs in at a provider, or by a key, and is known by a sealed cookie from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.engines.oidc import CLIENT, StrictProvider
from tests.gateway.monitors import Served, a_monitor

KEY, OTHER_KEY = "0" * 32, "1" * 32
ALICE = {"sub": "idp|alice", "preferred_username": "alice", "name": "Alice Ames"}
SESSION, SIGN_IN = "asgard-session", "asgard-sign-in"


@pytest.fixture
def provider() -> Iterator[StrictProvider]:
    made = StrictProvider(ALICE, {"sub": "idp|bob", "preferred_username": "bob"})
    made.start()
    yield made
    made.remove()


def given(provider: StrictProvider, **more: Any) -> dict[str, Any]:
    return {
        "auth": "required",
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "session_key": (KEY,),
        "admins": ("idp|alice",),
        **more,
    }


@pytest_asyncio.fixture
async def served(provider: StrictProvider, tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage", **given(provider)) as monitor:
        yield monitor


async def begin(served: Served, back: str = "/runs") -> str:
    """Ask to sign in; answer where the browser is sent."""
    answer = await served.client.get("/auth/login", params={"return": back})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def sign_in(served: Served, provider: StrictProvider, sub: str = "idp|alice") -> None:
    back = await asyncio.to_thread(provider.signs_in, await begin(served), sub)
    answer = await served.client.get(back)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs"), answer.text


async def who(served: Served) -> Any:
    answer = await served.client.get("/auth/session")
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem_of(answer: httpx.Response) -> str:
    """What the sign-in view is told went wrong."""
    split = urlsplit(answer.headers["location"])
    assert (answer.status_code, split.path) == (303, "/sign-in")
    return parse_qs(split.query)["problem"][0]


async def test_a_browser_that_has_signed_in_is_known_and_signs_out(
    served: Served, provider: StrictProvider
) -> None:
    assert (await served.client.get("/v1/me")).status_code == 401
    assert await who(served) == {
        "required": True, "ways": ["oidc", "key"], "who": None, "ended": None,
    }  # fmt: skip
    await sign_in(served, provider)
    said = (await who(served))["who"]
    assert said == {
        "id": "idp|alice", "handle": "@alice", "kind": "user", "name": "Alice Ames",
    }  # fmt: skip
    me = await served.client.get("/v1/me")
    assert (me.json()["id"], me.json()["admin"]) == ("idp|alice", True)
    assert "private" in me.headers["cache-control"]
    assert "cookie" in me.headers["vary"]
    out = await served.client.post("/auth/logout", headers={"origin": served.url})
    assert out.status_code == 200
    there = urlsplit(out.json()["next"])
    assert f"{there.scheme}://{there.netloc}" == provider.issuer
    assert parse_qs(there.query) == {
        "client_id": [CLIENT], "post_logout_redirect_uri": [f"{served.url}/"],
    }  # fmt: skip
    assert SESSION not in served.client.cookies
    assert (await served.client.get("/v1/me")).status_code == 401


async def test_the_provider_is_asked_by_pkce_state_and_nonce(
    served: Served, provider: StrictProvider
) -> None:
    asked = dict(parse_qsl(urlsplit(await begin(served)).query))
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{served.url}/auth/callback"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    await sign_in(served, provider)
    called = await asyncio.to_thread(provider.calls)
    assert called == [{"grant_type": "authorization_code", "secret": False, "verifier": 43}]


async def test_a_client_with_a_secret_shows_it(provider: StrictProvider, tmp_path: Path) -> None:
    settings = given(provider, oidc_client_secret="a secret")
    async with a_monitor(tmp_path / "storage", **settings) as served:
        await sign_in(served, provider)
    assert (await asyncio.to_thread(provider.calls))[0]["secret"] is True


def otherwise(address: str, **changed: str) -> str:
    split = urlsplit(address)
    query = {**dict(parse_qsl(split.query)), **changed}
    return split._replace(query=urlencode(query)).geturl()


async def test_an_answer_with_another_state_signs_nobody_in(
    served: Served, provider: StrictProvider
) -> None:
    back = await asyncio.to_thread(provider.signs_in, await begin(served), "idp|alice")
    answer = await served.client.get(otherwise(back, state="another"))
    assert problem_of(answer) == "state"
    assert SESSION not in served.client.cookies
    # Nor does the right one after that: the attempt is over.
    assert problem_of(await served.client.get(back)) == "state"
    assert (await served.client.get("/v1/me")).status_code == 401


async def test_a_token_with_another_nonce_signs_nobody_in(
    served: Served, provider: StrictProvider
) -> None:
    address = otherwise(await begin(served), nonce="of-somebody-else")
    back = await asyncio.to_thread(provider.signs_in, address, "idp|alice")
    assert problem_of(await served.client.get(back)) == "provider"
    assert SESSION not in served.client.cookies


async def test_a_code_that_was_asked_for_by_another_verifier_signs_nobody_in(
    served: Served, provider: StrictProvider
) -> None:
    address = otherwise(await begin(served), code_challenge="x" * 43)
    back = await asyncio.to_thread(provider.signs_in, address, "idp|alice")
    assert problem_of(await served.client.get(back)) == "provider"
    assert SESSION not in served.client.cookies


async def test_an_answer_of_another_provider_signs_nobody_in(
    served: Served, provider: StrictProvider
) -> None:
    back = await asyncio.to_thread(provider.signs_in, await begin(served), "idp|alice")
    answer = await served.client.get(otherwise(back, iss="https://elsewhere.example"))
    assert problem_of(answer) == "provider"


async def test_a_callback_that_is_replayed_signs_nobody_in(
    served: Served, provider: StrictProvider
) -> None:
    address = await begin(served)
    attempt = served.client.cookies[SIGN_IN]
    back = await asyncio.to_thread(provider.signs_in, address, "idp|alice")
    assert (await served.client.get(back)).headers["location"] == "/runs"
    served.client.cookies.clear()
    assert problem_of(await served.client.get(back)) == "state"
    # And by who has kept the cookie of the attempt: the provider takes a code once.
    served.client.cookies.set(SIGN_IN, attempt)
    assert problem_of(await served.client.get(back)) == "provider"
    assert SESSION not in served.client.cookies


async def test_who_says_no_at_the_provider_comes_back_to_where_they_were(served: Served) -> None:
    state = parse_qs(urlsplit(await begin(served, "/runs/r?x=1")).query)["state"][0]
    answer = await served.client.get(f"/auth/callback?error=access_denied&state={state}")
    assert problem_of(answer) == "denied"
    assert parse_qs(urlsplit(answer.headers["location"]).query)["return"] == ["/runs/r?x=1"]


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\/evil.example",
        "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "evil", "",
        "/auth/login", "/" + "x" * 2_000, "/\u00e4", " /runs",
    ],
)  # fmt: skip
async def test_nobody_is_sent_to_another_site(served: Served, path: str) -> None:
    answer = await served.client.get("/auth/login", params={"return": path})
    assert (answer.status_code, answer.json()["metadata"]) == (400, {"field": "return"})


async def test_an_altered_cookie_is_nobodys(served: Served, provider: StrictProvider) -> None:
    await sign_in(served, provider)
    sealed = served.client.cookies[SESSION]
    for at in (0, len(sealed) // 2, len(sealed) - 2):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        served.client.cookies.clear()
        served.client.cookies.set(SESSION, changed)
        assert (await served.client.get("/v1/me")).status_code == 401, at
    served.client.cookies.clear()
    served.client.cookies.set(SESSION, sealed)
    assert (await served.client.get("/v1/me")).status_code == 200


async def test_the_cookie_of_an_attempt_is_no_session(served: Served) -> None:
    await begin(served)
    attempt = served.client.cookies[SIGN_IN]
    served.client.cookies.clear()
    served.client.cookies.set(SESSION, attempt)
    assert (await served.client.get("/v1/me")).status_code == 401


async def test_a_header_goes_before_a_cookie(served: Served, provider: StrictProvider) -> None:
    await sign_in(served, provider)
    bob = {"authorization": f"Bearer {await asyncio.to_thread(provider_token, served, 'idp|bob')}"}
    me = await served.client.get("/v1/me", headers=bob)
    assert me.json()["id"] == "idp|bob"
    wrong = await served.client.get("/v1/me", headers={"authorization": "Bearer sk_user_no"})
    assert wrong.status_code == 401


def provider_token(served: Served, sub: str) -> str:
    """A key of somebody, made by the administrator who has signed in."""
    with httpx.Client(base_url=served.url, cookies=served.client.cookies) as client:
        headers = {"origin": served.url}
        there = client.post("/v1/users", json={"id": sub, "handle": "bob"}, headers=headers)
        assert there.status_code == 200, there.text
        made = client.post("/v1/api-keys", json={"name": "a", "user_id": sub}, headers=headers)
        assert made.status_code == 200, made.text
        key: str = made.json()["key"]
        return key


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403), ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403),
        ({"origin": "same"}, 200), ({"x-asgard-request": "1"}, 200),
        ({"x-asgard-request": "1", "origin": "https://evil.example"}, 403),
    ],
)  # fmt: skip
async def test_a_change_by_cookie_comes_from_this_page(
    served: Served, provider: StrictProvider, headers: dict[str, str], status: int
) -> None:
    await sign_in(served, provider)
    sent = {k: served.url if v == "same" else v for k, v in headers.items()}
    for path, body in (("/v1/runs", {"name": "a run"}), ("/auth/logout", {})):
        answer = await served.client.post(path, json=body, headers=sent)
        assert answer.status_code == status, (path, answer.text)
    if status == 403:
        assert (await who(served))["who"] is not None
        runs = await served.client.get("/v1/runs")
        assert runs.json()["runs"] == []


async def test_a_key_is_pasted_and_the_stream_of_who_did_ends_when_it_is_revoked(
    served: Served, provider: StrictProvider
) -> None:
    await sign_in(served, provider)
    made = await served.client.post(
        "/v1/api-keys", json={"name": "page"}, headers={"origin": served.url}
    )
    admin = dict(served.client.cookies)
    served.client.cookies.clear()
    key = made.json()["key"]
    for wrong, status in (("sk_user_no", 401), ("no key", 400), ("", 400), (7, 400)):
        answer = await served.client.post(
            "/auth/key", json={"key": wrong}, headers={"origin": served.url}
        )
        assert answer.status_code == status, answer.text
        assert SESSION not in served.client.cookies
    foreign = await served.client.post("/auth/key", json={"key": key})
    assert foreign.status_code == 403
    said = await served.client.post(
        "/auth/key", json={"key": f" {key}\n"}, headers={"origin": served.url}
    )
    assert said.json()["who"]["name"] == "@alice"
    async with served.client.stream("GET", "/api/updates") as stream:
        assert stream.status_code == 200
        lines = stream.aiter_lines()
        assert await anext(lines)
        async with httpx.AsyncClient(base_url=served.url, cookies=admin) as other:
            gone = await other.delete(
                f"/v1/api-keys/{made.json()['api_key']['id']}", headers={"origin": served.url}
            )
            assert gone.status_code == 200, gone.text
        async with asyncio.timeout(10):  # within a second, on a machine that does nothing else
            async for _ in lines:
                pass
    ended = await who(served)
    assert (ended["who"], ended["ended"]) == (None, "the API key has been revoked")
    assert SESSION not in served.client.cookies


async def test_tokens_are_renewed_before_they_end_until_the_provider_ends_the_session(
    tmp_path: Path,
) -> None:
    provider = StrictProvider(ALICE, seconds=4)
    provider.start()
    try:
        settings = given(provider, oidc_leeway_seconds=0)
        async with a_monitor(tmp_path / "storage", **settings) as served:
            await sign_in(served, provider)
            first = served.client.cookies[SESSION]
            until = asyncio.get_running_loop().time() + 9
            while asyncio.get_running_loop().time() < until:
                answers = await asyncio.gather(*(served.client.get("/v1/me") for _ in range(5)))
                assert {answer.status_code for answer in answers} == {200}
                await asyncio.sleep(0.1)
            assert served.client.cookies[SESSION] != first
            calls = await asyncio.to_thread(provider.calls)
            refreshes = [call for call in calls if call["grant_type"] == "refresh_token"]
            # Once for all requests of a moment: a refresh token is good once, more is the end.
            assert 1 <= len(refreshes) <= 4
            await asyncio.to_thread(provider.end_sessions)
            async with asyncio.timeout(30):
                while (  # noqa: ASYNC110 - the clock's business
                    await served.client.get("/v1/me")
                ).status_code == 200:
                    await asyncio.sleep(0.1)
            assert (await who(served))["ended"] == "the token has expired; sign in again"
    finally:
        provider.remove()


async def test_a_cookie_of_the_key_before_is_taken_and_one_of_another_key_is_not(
    provider: StrictProvider, tmp_path: Path
) -> None:
    async with a_monitor(tmp_path / "storage", **given(provider)) as served:
        await sign_in(served, provider)
        cookie = served.client.cookies[SESSION]
    for keys, status in (((OTHER_KEY, KEY), 200), ((OTHER_KEY,), 401)):
        settings = given(provider, session_key=keys)
        async with a_monitor(tmp_path / "storage", **settings) as served:
            served.client.cookies.set(SESSION, cookie)
            assert (await served.client.get("/v1/me")).status_code == status


async def test_beyond_this_machine_cookies_are_the_hosts_own_and_go_by_https_alone(
    provider: StrictProvider, tmp_path: Path
) -> None:
    settings = given(provider, allowed_hosts=("asgard.example",))
    async with a_monitor(tmp_path / "storage", **settings) as served:
        host = {"host": "asgard.example"}
        answer = await served.client.get("/auth/login", params={"return": "/"}, headers=host)
        said = answer.headers["set-cookie"]
        assert said.startswith(f"__Host-{SIGN_IN}=")
        parts = {part.strip().lower() for part in said.split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts
        assert not any(part.startswith("domain") for part in parts)
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        assert asked["redirect_uri"] == ["https://asgard.example/auth/callback"]
        # Here they have no prefix, and there those without one are not read.
        await sign_in(served, provider)
        cookie = served.client.cookies[SESSION]
        served.client.cookies.clear()
        for name, status in ((SESSION, 401), (f"__Host-{SESSION}", 200)):
            shown = {**host, "cookie": f"{name}={cookie}"}
            assert (await served.client.get("/v1/me", headers=shown)).status_code == status
        # A page of the same name without HTTPS is another one's to write.
        for origin, status in (("http://asgard.example", 403), ("https://asgard.example", 200)):
            shown = {**host, "cookie": f"__Host-{SESSION}={cookie}", "origin": origin}
            made = await served.client.post("/v1/runs", json={"name": "a"}, headers=shown)
            assert made.status_code == status, made.text


async def test_nothing_of_a_session_is_in_the_log(
    provider: StrictProvider, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = given(provider, log_level="debug")
    async with a_monitor(tmp_path / "storage", **settings) as served:
        back = await asyncio.to_thread(provider.signs_in, await begin(served), "idp|alice")
        await served.client.get(back)
        await served.client.get("/v1/me")
        code = parse_qs(urlsplit(back).query)["code"][0]
        sealed = served.client.cookies[SESSION]
    said = "".join(capfd.readouterr())
    assert code not in said
    assert sealed not in said
    assert "eyJ" not in said


async def test_where_nobody_is_asked_there_is_nothing_to_sign_in_to(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage") as served:
        said = await who(served)
        assert said == {"required": False, "ways": [], "who": None, "ended": None}
        for path in ("/auth/login", "/auth/callback"):
            assert (await served.client.get(path)).status_code == 404
        assert (await served.client.post("/auth/key", json={"key": "sk_a"})).status_code == 404
