from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Page, expect

from tests.browser.showing import Server

pytestmark = pytest.mark.xdist_group("browser")

OpenPage = Callable[..., Page]
SWEEP = 260


@pytest.fixture(scope="session")
def sweep(storage: AsgardStorage, kinds: dict[str, str]) -> list[str]:
    """More runs than a page of the list holds."""
    return [
        storage.create_run(name=f"Sweep {k:03d} pelican", metadata={"step": k}).id
        for k in range(SWEEP)
    ]


def test_a_row_tells_name_time_equation_circuit_and_number_of_results(
    open_page: OpenPage, storage: AsgardStorage
) -> None:
    run = storage.create_run(
        name="All told", equation="int(f, x) = g", circuit="composition(register(x), id)"
    )
    for _ in range(3):
        storage.add_result(run, result_type="DiscreteSequence", data={"values": [1, 2]})
    storage.finish_run(run)
    page = open_page("/runs?q=All+told")
    row = page.locator(f"[data-run='{run.id}']")
    for text in ("All told", "int(f, x) = g", "composition(register(x), id)", "Succeeded", "ago"):
        expect(row).to_contain_text(text)
    expect(row.locator(".cell-results")).to_have_text(re.compile("^3"))


def test_the_first_address_is_the_list_and_a_row_leads_to_its_run_and_back(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page("/?q=drawn+as+steps")
    page.locator(f"[data-run='{kinds['steps']}'] .cell-started").click()
    expect(page).to_have_url(re.compile(f"/runs/{kinds['steps']}$"))
    expect(page.get_by_role("heading", level=1, name="A run drawn as steps")).to_be_visible()
    page.go_back()
    expect(page.locator(f"[data-run='{kinds['steps']}']")).to_be_visible()


def test_a_search_is_answered_by_the_server_and_kept_in_the_address(
    open_page: OpenPage, sweep: list[str], kinds: dict[str, str]
) -> None:
    page = open_page("/runs")
    expect(page.locator(".rows .row").first).to_be_visible()
    with page.expect_response(lambda response: "query=pelican+041" in response.url):
        page.keyboard.press("/")
        page.keyboard.type("pelican 041")
    expect(page.locator(".rows .row")).to_have_count(1)
    expect(page.get_by_role("link", name="Sweep 041 pelican")).to_be_visible()
    expect(page.locator(".list-count")).to_have_text("1 run matches")
    assert page.url.endswith("/runs?q=pelican%20041")
    page.reload()
    expect(page.locator(".rows .row")).to_have_count(1)
    page.get_by_label("Search runs").fill("no run is called that")
    expect(page.get_by_role("heading", name="No run matches")).to_be_visible()
    page.get_by_role("button", name="Clear the search").last.click()
    expect(page.locator(".rows .row").nth(5)).to_be_visible()


def test_the_list_reads_on_as_it_is_scrolled_and_holds_few_rows_in_the_page(
    open_page: OpenPage, sweep: list[str]
) -> None:
    page = open_page("/runs?q=pelican")
    expect(page.locator(".list-count")).to_have_text(f"{SWEEP} runs match")
    last = page.get_by_role("link", name="Sweep 000 pelican")
    for _ in range(12):
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(80)
        if last.count():
            break
    expect(last).to_be_visible()
    assert page.locator(".rows .row").count() <= 80


def test_new_runs_wait_behind_a_pill_while_the_list_is_scrolled(
    open_page: OpenPage, storage: AsgardStorage, sweep: list[str]
) -> None:
    page = open_page("/runs")
    expect(page.locator(".rows .row").first).to_be_visible()
    page.evaluate("window.scrollTo(0, 900)")
    page.wait_for_timeout(600)
    top = "document.elementFromPoint(300, 400).closest('.row').dataset.run"
    before = page.evaluate(top)
    run = storage.create_run(name="Late arrival")
    pill = page.get_by_role("button", name="1 new run")
    expect(pill).to_be_visible()
    assert page.evaluate(top) == before
    pill.click()
    expect(page.locator(f"[data-run='{run.id}']")).to_be_in_viewport()


def test_a_run_is_deleted_only_after_the_question_is_answered(
    open_page: OpenPage, storage: AsgardStorage, server: Server
) -> None:
    run = storage.create_run(name="Doomed albatross")
    result = storage.add_result(run, result_type="DiscreteSequence", data={"values": [1, 2]})
    page = open_page("/runs?q=albatross")
    row = page.locator(f"[data-run='{run.id}']")
    row.hover()
    row.get_by_role("button", name="Delete Doomed albatross").click()
    dialog = page.get_by_role("dialog", name="Delete this run?")
    expect(dialog).to_contain_text("1 result")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    expect(row).to_be_visible()
    row.get_by_role("button", name="Delete Doomed albatross").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    row.get_by_role("button", name="Delete Doomed albatross").click()
    dialog.get_by_role("button", name="Delete run").click()
    expect(row).to_be_hidden()
    assert not (server.storage / "runs" / f"{run.id}.json").exists()
    assert not (server.storage / "results" / f"{result.id}.json").exists()


def test_a_run_deleted_from_its_own_page_leads_back_to_the_list(
    open_page: OpenPage, storage: AsgardStorage
) -> None:
    run = storage.create_run(name="Doomed cormorant")
    page = open_page(f"/runs/{run.id}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete run").click()
    expect(page).to_have_url(re.compile("/runs$"))
    expect(page.locator(".rows .row").first).to_be_visible()
    expect(page.locator(f"[data-run='{run.id}']")).to_have_count(0)


def test_a_run_deleted_elsewhere_leaves_the_list_and_tells_on_its_page(
    open_page: OpenPage, storage: AsgardStorage
) -> None:
    run = storage.create_run(name="Doomed puffin")
    listing, page = open_page("/runs?q=puffin"), open_page(f"/runs/{run.id}")
    expect(listing.locator(f"[data-run='{run.id}']")).to_be_visible()
    expect(page.get_by_role("heading", name="Doomed puffin")).to_be_visible()
    storage.delete_run(run.id)
    expect(listing.locator(f"[data-run='{run.id}']")).to_have_count(0)
    expect(page.get_by_role("alert")).to_contain_text("has been deleted")


def test_an_address_of_no_run_says_so(open_page: OpenPage) -> None:
    page = open_page("/runs/0193e7c8-0000-7000-8000-000000000000")
    expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
    page.get_by_role("link", name="All runs").click()
    expect(page).to_have_url(re.compile("/runs$"))
