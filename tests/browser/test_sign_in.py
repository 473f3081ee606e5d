"""A server that asks everybody who they are, and people who sign in with a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.manners import FAINT, NAMELESS
from tests.browser.showing import Server, every_kind, wait_for_paint
from tests.engines.oidc import CLIENT, StrictProvider

pytestmark = pytest.mark.xdist_group("browser")

ALICE = {"sub": "idp|alice", "preferred_username": "alice", "name": "Alice Ames"}
CHANGED_WITHIN_MS = 30_000


@dataclass
class Lab:
    """A server that asks who one is, the provider that it asks, and the runs that it has."""

    server: Server
    provider: StrictProvider
    runs: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.url


@contextmanager
def a_lab(folder: Path, *, by_provider: bool = True, seconds: int = 3_600) -> Iterator[Lab]:
    provider = StrictProvider(ALICE, seconds=seconds)
    provider.start()
    environment = {"ASGARD_AUTH": "required", "ASGARD_OIDC_ISSUER": provider.issuer}
    environment |= {"ASGARD_OIDC_LEEWAY_SECONDS": "0", "ASGARD_ADMINS": "idp|alice"}
    environment |= {"ASGARD_OIDC_AUDIENCE": CLIENT}
    if by_provider:
        environment |= {"ASGARD_OIDC_CLIENT_ID": CLIENT, "ASGARD_SESSION_KEY": "k" * 32}
    server = Server(folder / "storage", folder / "monitor.log", environment)
    runs = every_kind(AsgardStorage(str(server.storage), durability="relaxed"))
    server.start()
    try:
        yield Lab(server, provider, runs)
    finally:
        server.stop()
        provider.remove()
        print(server.log.read_text())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context()
    made.set_default_timeout(20_000)
    yield made
    made.close()


def sign_in(page: Page) -> None:
    """From the sign-in view through the provider's form, as a person does."""
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name=ALICE["sub"]).click()


def key_of_alice(lab: Lab) -> tuple[str, str]:
    """An API key of hers, and its id."""
    shown = {"authorization": f"Bearer {token_of_alice(lab)}"}
    made = httpx.post(f"{lab.url}/v1/api-keys", json={"name": "page"}, headers=shown).json()
    return made["key"], made["api_key"]["id"]


def token_of_alice(lab: Lab) -> str:
    with httpx.Client(base_url=lab.url) as client:
        where = client.get("/auth/login?return=/runs").headers["location"]
        client.get(lab.provider.signs_in(where, ALICE["sub"]))
        # A program that has the cookie is who the browser is, and may have a key made.
        made = client.post("/v1/api-keys", json={"name": "b"}, headers={"origin": lab.url})
        key: str = made.json()["key"]
        return key


def test_one_signs_in_where_one_is_sees_it_and_signs_out(lab: Lab, context: BrowserContext) -> None:
    page = context.new_page()
    path = f"/runs/{lab.runs['heatmap']}"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(lab.url + path)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.locator("article")).to_have_count(0)
    sign_in(page)
    expect(page).to_have_url(lab.url + path)
    # The view, and the numbers that it points to.
    wait_for_paint(page, "article[data-kind]", 2_000)
    expect(page.locator(".signed-in .name")).to_have_text("Alice Ames")
    expect(page.locator(".live.ok")).to_be_visible()
    assert not any("eyJ" in url or "sk_" in url for url in asked)
    page.get_by_role("button", name="Sign out").click()
    # The provider asks whether its own session is to end, too, and leads back.
    page.locator("form button, form input[type=submit]").first.click()
    expect(page).to_have_url(f"{lab.url}/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{lab.url}/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not any("eyJ" in url for url in asked)


def test_changes_come_and_runs_are_deleted_by_who_has_signed_in(
    lab: Lab, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"{lab.url}/runs?q=passing")
    sign_in(page)
    expect(page.locator(".live.ok")).to_be_visible()
    storage = AsgardStorage(str(lab.server.storage), durability="relaxed")
    run = storage.create_run(name="In passing")
    row = page.locator(f"[data-run='{run.id}']")
    expect(row).to_be_visible()
    row.hover()
    row.locator("a").first.focus()
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Delete run").click()
    expect(row).to_have_count(0)
    assert run.id not in {each.id for each in storage.list_runs()}


def test_a_key_that_is_revoked_ends_the_page_of_who_signed_in_with_it(
    lab: Lab, context: BrowserContext
) -> None:
    key, key_id = key_of_alice(lab)
    page = context.new_page()
    page.goto(f"{lab.url}/runs?q=drawn")
    page.get_by_label("API key").fill("sk_user_nobodys")
    page.get_by_role("button", name="Sign in with this key").click()
    expect(page.get_by_role("alert")).to_contain_text("none of this server's")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in with this key").click()
    expect(page).to_have_url(f"{lab.url}/runs?q=drawn")
    expect(page.locator(".rows .row").first).to_be_visible()
    expect(page.locator(".signed-in .name")).to_have_text("@alice")
    expect(page.locator(".live.ok")).to_be_visible()
    shown = {"authorization": f"Bearer {key}"}
    revoked = time.monotonic()
    assert httpx.delete(f"{lab.url}/v1/api-keys/{key_id}", headers=shown).status_code == 200
    expect(page.get_by_text("the API key has been revoked")).to_be_visible(
        timeout=CHANGED_WITHIN_MS
    )
    print(f"told after {time.monotonic() - revoked:.2f} s")
    expect(page.locator(".rows .row")).to_have_count(0)
    # Nobody is asked again and again by a page that nobody has signed in to.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.wait_for_timeout(3_000)
    assert asked == []


def test_a_page_whose_cookie_was_altered_asks_to_sign_in(lab: Lab, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{lab.url}/runs")
    sign_in(page)
    expect(page.locator(".rows .row").first).to_be_visible()
    [cookie] = [each for each in context.cookies() if each["name"] == "asgard-session"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert page.evaluate("document.cookie") == ""
    half = len(cookie["value"]) // 2
    changed = cookie["value"][:half] + "AAAA" + cookie["value"][half + 4 :]
    context.add_cookies([{"name": cookie["name"], "value": changed, "url": lab.url}])
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_page_of_another_origin_changes_nothing(
    lab: Lab, context: BrowserContext, server: Server
) -> None:
    page = context.new_page()
    page.goto(f"{lab.url}/runs")
    sign_in(page)
    expect(page.locator(".rows .row").first).to_be_visible()
    # Another port of this machine is another origin, and the browser sends cookies to both.
    page.goto(f"{server.url}/healthz")
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status))
    page.evaluate(
        """([url, run]) => {
          const send = (method, path, more) =>
            fetch(url + path, { method, credentials: "include", mode: "no-cors", ...more })
              .catch(() => null);
          return Promise.all([
            send("POST", "/v1/runs", { body: '{"name": "foreign"}' }),
            send("POST", "/auth/logout"),
            send("DELETE", `/v1/runs/${run}`),
          ]);
        }""",
        [lab.url, lab.runs["line"]],
    )
    page.goto(f"{lab.url}/runs?q=foreign")
    expect(page.locator(".signed-in .name")).to_have_text("Alice Ames")
    expect(page.get_by_text("No run matches")).to_be_visible()
    page.goto(f"{lab.url}/runs/{lab.runs['line']}")
    expect(page.locator("article[data-kind]")).to_be_visible()


def test_who_declines_at_the_provider_is_told_and_may_begin_again(
    lab: Lab, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"{lab.url}/runs?q=drawn")
    page.get_by_role("link", name="Sign in").click()
    page.locator("[name=action][value=deny]").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    expect(page.get_by_role("alert")).to_have_text(re.compile("declined"))
    sign_in(page)
    expect(page.locator(".rows .row").first).to_be_visible()


def test_a_page_stays_through_the_ends_of_tokens_until_the_provider_ends_the_session(
    tmp_path: Path, context: BrowserContext
) -> None:
    with a_lab(tmp_path, seconds=4) as lab:
        page = context.new_page()
        page.goto(f"{lab.url}/runs")
        sign_in(page)
        expect(page.locator(".rows .row").first).to_be_visible()
        page.wait_for_timeout(9_000)  # two tokens' lives
        expect(page.locator(".live.ok")).to_be_visible()
        expect(page.locator(".signed-in .name")).to_have_text("Alice Ames")
        assert any(call["grant_type"] == "refresh_token" for call in lab.provider.calls())
        lab.provider.end_sessions()
        expect(page.get_by_text("the token has expired")).to_be_visible(timeout=CHANGED_WITHIN_MS)


def test_without_a_provider_a_key_is_all_that_is_asked_for(
    tmp_path: Path, context: BrowserContext
) -> None:
    with a_lab(tmp_path, by_provider=False) as lab:
        page = context.new_page()
        page.goto(f"{lab.url}/runs")
        expect(page.get_by_label("API key")).to_be_focused()
        expect(page.get_by_role("link", name="Sign in")).to_have_count(0)


def test_where_nobody_is_asked_nothing_is_said_of_signing_in(
    server: Server, kinds: dict[str, str], context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"{server.url}/runs")
    expect(page.locator(".rows .row").first).to_be_visible()
    expect(page.locator(".signed-in")).to_have_count(0)
    expect(page.get_by_text("Sign")).to_have_count(0)
    page.goto(f"{server.url}/sign-in?return=//evil.example")
    expect(page).to_have_url(f"{server.url}/runs")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_sign_in_view_is_for_everybody(
    lab: Lab, browser: Browser, scheme: str, width: int
) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 800},
    )
    page = context.new_page()
    for path in ("/runs", "/sign-in?problem=state&return=/runs"):
        page.goto(lab.url + path)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(FAINT) == []
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    page.get_by_role("link", name="Sign in").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=ALICE["sub"]).click()
    expect(page.locator(".rows .row").first).to_be_visible()
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(FAINT) == []
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    context.close()
