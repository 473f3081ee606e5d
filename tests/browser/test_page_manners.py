from __future__ import annotations

import gzip
import re
import urllib.request
from collections.abc import Callable

import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Page, expect

from tests.browser.manners import FAINT, NAMELESS
from tests.browser.showing import Server, wait_for_paint

pytestmark = pytest.mark.xdist_group("browser")

OpenPage = Callable[..., Page]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_control_has_a_name_and_every_text_enough_contrast(
    open_page: OpenPage, kinds: dict[str, str], scheme: str
) -> None:
    for path in ["/runs", *(f"/runs/{run_id}" for run_id in kinds.values())]:
        page = open_page(path, color_scheme=scheme)
        expect(page.locator(".rows .row, article[data-kind]").first).to_be_visible()
        assert page.evaluate(NAMELESS) == [], path
        assert page.evaluate(FAINT) == [], path
        page.close()


@pytest.mark.parametrize("width", [360, 480, 768, 1920])
def test_no_window_is_too_narrow(open_page: OpenPage, kinds: dict[str, str], width: int) -> None:
    too_wide = "document.documentElement.scrollWidth > window.innerWidth"
    page = open_page("/runs", width=width)
    row = page.locator(f"[data-run='{kinds['line']}']").or_(page.locator(".rows .row").first).first
    expect(row.locator("a")).to_be_visible()
    expect(row.locator(".status")).to_be_visible()
    assert not page.evaluate(too_wide)
    for kind in ("line", "heatmap", "ensemble", "optimization", "frames", "tree"):
        page.goto(page.url.split("/runs")[0] + f"/runs/{kinds[kind]}")
        expect(page.locator("article[data-kind]")).to_be_visible()
        assert not page.evaluate(too_wide), kind
        figure = page.locator("article").bounding_box()
        content = page.locator("main").bounding_box()
        assert figure
        assert content
        if width < 1024:
            assert figure["width"] >= 0.9 * (content["width"] - 32)


def test_a_run_is_opened_from_the_keyboard(open_page: OpenPage, kinds: dict[str, str]) -> None:
    page = open_page("/runs?q=drawn+as")
    expect(page.locator(".rows .row")).to_have_count(len(kinds))
    page.locator(".rows a").first.focus()
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    second = page.locator(".rows .row").nth(1)
    expect(second.locator("a")).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    second.locator("a").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runs/.+"))


def test_a_figure_is_read_and_zoomed_from_the_keyboard(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['line']}")
    wait_for_paint(page, "article[data-kind]", 2_000)
    page.locator(".plot").focus()
    page.keyboard.press("End")
    expect(page.locator(".reading.at output")).to_have_text("40")
    page.keyboard.press("Home")
    expect(page.locator(".reading.at output")).to_have_text("0")
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Whole range")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Whole range")).to_be_hidden()


def test_the_page_is_light_and_nothing_on_it_may_come_from_elsewhere(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/runs") as answer:
        html = answer.read().decode()
        policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
    assert " style=" not in html
    assert not re.search(r"<script(?![^>]*src=)", html)
    scripts = re.findall(r'src="([^"]+\.js)"', html)
    size = 0
    for path in scripts:
        with urllib.request.urlopen(server.url + path) as answer:
            size += len(gzip.compress(answer.read(), 6))
    assert scripts
    assert size <= 100_000


def test_a_note_is_markdown_and_never_markup(open_page: OpenPage, storage: AsgardStorage) -> None:
    run = storage.create_run(name="Noted")
    note = (
        "# Found\n\n**bold** and `code`, [a link](https://example.org/)\n\n"
        "<img src=x onerror=alert(1)> [bad](javascript:alert(1))\n\n- one\n- two"
    )
    storage.update_run(run, note=note)
    page = open_page(f"/runs/{run.id}")
    drawn = page.locator(".markdown")
    expect(drawn.locator("strong")).to_have_text("bold")
    expect(drawn.locator("li")).to_have_count(2)
    expect(drawn.locator("img")).to_have_count(0)
    expect(drawn).to_contain_text("<img src=x onerror=alert(1)>")
    assert [link.get_attribute("href") for link in drawn.locator("a").all()] == [
        "https://example.org/"
    ]


def test_a_page_loaded_again_from_the_cache_still_draws(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['line']}")
    wait_for_paint(page, "article[data-kind]", 2_000)
    with page.expect_response(lambda response: response.url == page.url) as answer:
        page.reload()
    assert answer.value.status in (200, 304)
    wait_for_paint(page, "article[data-kind]", 2_000)


def test_an_idle_page_asks_for_nothing(open_page: OpenPage, kinds: dict[str, str]) -> None:
    page = open_page(f"/runs/{kinds['line']}")
    wait_for_paint(page, "article[data-kind]", 2_000)
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_000)
    assert asked == []
