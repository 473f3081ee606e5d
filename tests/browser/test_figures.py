from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Page, expect

from tests.browser.showing import EDGES, SPIKE, Server, coloured, wait_for_paint, wait_until

pytestmark = pytest.mark.xdist_group("browser")

OpenPage = Callable[..., Page]
CARD = "article[data-kind]"

# What a figure of that size must have painted at the least; an empty one has 0.
PAINTED = {
    "line": 2_000,
    "heatmap": 60_000,
    "ensemble": 5_000,
    "steps": 1_000,
    "optimization": 1_500,
    "frames": 60_000,
    "bodies": 200,
}


@pytest.mark.parametrize("kind", PAINTED)
def test_a_figure_of_each_kind_is_really_painted(
    open_page: OpenPage, kinds: dict[str, str], kind: str
) -> None:
    page = open_page(f"/runs/{kinds[kind]}")
    wait_for_paint(page, CARD, PAINTED[kind])
    expect(page.locator("h2", has_text=f"The {kind}")).to_be_visible()


def test_figures_are_painted_in_dark_colours_too_and_anew_when_the_reader_changes_them(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['line']}", color_scheme="dark")
    wait_for_paint(page, CARD, 2_000)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    wait_for_paint(page, CARD, 2_000)


def test_any_other_result_is_a_tree_with_previews_of_its_arrays(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['tree']}")
    card = page.locator("article[data-kind=tree]")
    expect(card.get_by_text("chi2")).to_be_visible()
    expect(card.get_by_text("1.25")).to_be_visible()
    expect(card.get_by_text("float64 [3000]")).to_be_visible()
    assert card.locator(".sparkline path").get_attribute("d")


def test_a_spike_of_one_sample_among_ten_thousand_is_drawn(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['line']}")
    wait_for_paint(page, CARD, 2_000)
    # The curve itself ends at 1.0 and the axis at 2.0: only the spike reaches above the middle.
    edges = page.locator(".plot").first.evaluate(EDGES)
    assert edges["top"] < 0.35
    name = page.locator(".plot").get_attribute("aria-label")
    assert name
    assert name.endswith(f"to {SPIKE}")


def test_the_numbers_of_a_figure_are_a_table_too(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['steps']}")
    wait_for_paint(page, CARD, 1_000)
    page.get_by_role("button", name="Data").click()
    rows = page.get_by_role("region", name="Data of The steps").get_by_role("row")
    expect(rows).to_have_count(9)
    expect(rows.nth(8).get_by_role("cell")).to_have_text(["7", "21", "1"])


def drag_across(page: Page, start: float, end: float) -> None:
    """Select a part of the first plot, given as shares of its width."""
    box = page.locator(".u-over").first.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, middle, steps=6)
    page.mouse.up()


def test_a_drag_reads_the_window_in_full_detail_and_a_double_click_goes_back(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['line']}")
    wait_for_paint(page, CARD, 2_000)
    with page.expect_request(lambda request: "x_min=" in request.url) as asked:
        drag_across(page, 0.4, 0.45)
    assert "x_max=" in asked.value.url
    page.wait_for_timeout(600)  # two drags at once would be a double click
    drag_across(page, 0.2, 0.8)
    whole = page.get_by_role("button", name="Whole range")
    expect(whole).to_be_visible()
    wait_for_paint(page, CARD, 500)
    box = page.locator(".u-over").first.bounding_box()
    assert box
    page.mouse.dblclick(box["x"] + 200, box["y"] + 50)
    expect(whole).to_be_visible()
    page.wait_for_timeout(600)
    page.mouse.dblclick(box["x"] + 200, box["y"] + 50)
    expect(whole).to_be_hidden()


def test_the_residual_and_the_logarithm_are_one_click_away(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['line']}")
    wait_for_paint(page, CARD, 2_000)
    # This curve has values below zero.
    expect(page.get_by_role("button", name="Log")).to_be_disabled()
    page.get_by_role("button", name="Residual").click()
    residual = page.get_by_role("group", name="Residual of The line")
    expect(residual).to_be_visible()
    expect(page.locator(".plot canvas")).to_have_count(2)


def test_a_heatmap_shows_its_layers_and_the_value_under_the_pointer(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['heatmap']}")
    wait_for_paint(page, CARD, 60_000)
    canvas = page.locator(".surface canvas")
    expect(canvas).to_have_attribute("data-drawn", "computed")
    canvas.hover(position={"x": 200, "y": 150})
    expect(page.locator(".reading-label", has_text="computed")).to_be_visible()
    page.get_by_role("button", name="Error").click()
    expect(canvas).to_have_attribute("data-drawn", "error")


def test_a_heatmap_is_zoomed_by_a_drag(open_page: OpenPage, kinds: dict[str, str]) -> None:
    page = open_page(f"/runs/{kinds['heatmap']}")
    wait_for_paint(page, CARD, 60_000)
    box = page.locator(".surface canvas").bounding_box()
    assert box
    with page.expect_request(lambda request: "y_min=" in request.url and "format" in request.url):
        page.mouse.move(box["x"] + 120, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 220, box["y"] + 160, steps=5)
        page.mouse.up()
    expect(page.get_by_role("button", name="Whole range")).to_be_visible()
    wait_for_paint(page, CARD, 60_000)


def test_an_ensemble_shows_distributions_and_that_at_the_cursor(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['ensemble']}")
    wait_for_paint(page, CARD, 5_000)
    expect(page.locator(".bars svg rect").first).to_be_attached()
    expect(page.locator(".bars-none")).to_have_text("point at the figure")
    with page.expect_response(lambda response: "at=" in response.url):
        page.locator(".u-over").hover(position={"x": 300, "y": 100})
    expect(page.locator(".bars.marked rect").first).to_be_attached()
    expect(page.locator(".bars-none")).to_have_count(0)


def test_an_animation_plays_pauses_and_is_scrubbed(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['frames']}")
    wait_for_paint(page, CARD, 60_000)
    canvas = page.locator(".stage canvas")
    expect(canvas).to_have_attribute("data-drawn", "0")
    page.get_by_role("button", name="Play").click()
    wait_until(page, "Number(document.querySelector('.stage canvas').dataset.drawn) > 3")
    page.get_by_role("button", name="Pause").click()
    frame = page.get_by_role("slider", name="Frame")
    frame.fill("25")
    expect(canvas).to_have_attribute("data-drawn", "25")
    page.get_by_label("Speed").select_option("4")
    page.get_by_role("button", name="One frame on").click()
    expect(canvas).to_have_attribute("data-drawn", "26")


def test_parameters_are_small_plots_that_share_their_steps(
    open_page: OpenPage, kinds: dict[str, str]
) -> None:
    page = open_page(f"/runs/{kinds['optimization']}")
    wait_for_paint(page, CARD, 1_500)
    assert page.locator(".small-figure canvas").count() == 2
    expect(page.locator(".goal").first).to_contain_text("optimum 1")
    assert coloured(page, ".small-figure") > 100
    expect(page.get_by_role("button", name="Log")).to_have_attribute("aria-pressed", "true")


def test_a_result_that_cannot_be_read_says_so_and_leaves_the_others_alone(
    open_page: OpenPage, server: Server, storage: AsgardStorage
) -> None:
    run = storage.create_run(name="One result is broken")
    x = np.linspace(0, 1, 5_000)
    good = storage.add_result(run, result_type="Solution1D", data={"x": x, "computed": x})
    bad = storage.add_result(run, result_type="Solution1D", data={"x": x, "computed": x})
    for path in (server.storage / "files").glob(f"{bad.id}_*"):
        path.unlink()
    page = open_page(f"/runs/{run.id}")
    wait_for_paint(page, f"article[data-result='{good.id}']", 1_000)
    broken = page.locator(f"article[data-result='{bad.id}']")
    expect(broken.get_by_role("alert")).to_contain_text("could not be drawn")
    expect(broken.get_by_role("button", name="Try again")).to_be_visible()
