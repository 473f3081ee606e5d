"""People sign in at a real Keycloak with a real browser. Not in `make test`: Keycloak is 165 MB of
Java, and starts in a minute or two; `make soak` names this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.showing import Server, find_chromium
from tests.engines.keycloak import CLIENT, PASSWORD, PERSON, TOKEN_SECONDS, Keycloak

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def keycloak() -> Iterator[Keycloak]:
    made = Keycloak()
    made.start()
    yield made
    made.remove()


@pytest.fixture
def server(keycloak: Keycloak, tmp_path: Path) -> Iterator[Server]:
    environment = {
        "ASGARD_AUTH": "required",
        "ASGARD_OIDC_ISSUER": keycloak.issuer,
        "ASGARD_OIDC_CLIENT_ID": CLIENT,
        "ASGARD_OIDC_ORGANIZATIONS_CLAIM": "groups",
        "ASGARD_OIDC_LEEWAY_SECONDS": "5",
        "ASGARD_SESSION_KEY": "k" * 32,
    }
    made = Server(tmp_path / "storage", tmp_path / "monitor.log", environment)
    AsgardStorage(str(made.storage)).save_simulation_result(
        "A run", "Solution1D", {"x": [0, 1, 2], "computed": [0, 1, 4]}
    )
    made.start()
    yield made
    made.stop()
    print(made.log.read_text())


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page()
        page.set_default_timeout(60_000)
        yield page
        chromium.close()


def test_one_signs_in_stays_through_renewals_signs_out_and_is_signed_out(
    server: Server, keycloak: Keycloak, page: Page
) -> None:
    expect.set_options(timeout=60_000)
    page.goto(f"{server.url}/runs?q=run")
    page.get_by_role("link", name="Sign in").click()
    page.locator("#username").fill(PERSON)
    page.locator("#password").fill(PASSWORD)
    page.locator("#kc-login").click()
    expect(page).to_have_url(f"{server.url}/runs?q=run")
    expect(page.locator(".rows .row")).to_have_count(1)
    expect(page.locator(".signed-in .name")).to_have_text("Alice Ames")
    scopes = page.evaluate("fetch('/v1/me/scopes').then((answer) => answer.json())")["scopes"]
    assert [scope["slug"] for scope in scopes] == [PERSON, "acme"]
    first = session_of(page)
    page.wait_for_timeout(2.5 * TOKEN_SECONDS * 1_000)
    expect(page.locator(".live.ok")).to_be_visible()
    expect(page.locator(".signed-in .name")).to_have_text("Alice Ames")
    assert session_of(page) != first

    page.get_by_role("button", name="Sign out").click()
    # Keycloak asks whether it is meant, unless the session has ended with the refresh token.
    asks, here = page.locator("#kc-logout"), page.get_by_label("API key")
    expect(asks.or_(here)).to_be_visible()
    if asks.is_visible():
        asks.click()
    expect(here).to_be_visible()
    expect(page).to_have_url(f"{server.url}/")
    page.get_by_role("link", name="Sign in").click()
    page.locator("#username").fill(PERSON)  # its own session is over, too
    page.locator("#password").fill(PASSWORD)
    page.locator("#kc-login").click()
    expect(page.locator(".rows .row")).to_have_count(1)

    keycloak.end_sessions()
    expect(page.get_by_text("the token has expired")).to_be_visible(
        timeout=4 * TOKEN_SECONDS * 1_000
    )


def session_of(page: Page) -> str:
    """The cookie, put together of its parts."""
    found = {each["name"]: each["value"] for each in page.context.cookies()}
    return "".join(found[name] for name in sorted(found) if name.startswith("asgard-session"))
