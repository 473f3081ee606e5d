from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Page, expect

from tests.browser.showing import EDGES, Server, wait_for_paint

pytestmark = pytest.mark.xdist_group("browser")

OpenPage = Callable[..., Page]
SaveElsewhere = Callable[[str], str]


def loads(page: Page) -> int:
    """How often the page was loaded: a mark set once is gone after a reload."""
    return int(page.evaluate("window.marked = (window.marked ?? 0) + 1"))


def test_a_run_saved_by_another_process_appears_in_the_list_without_a_reload(
    open_page: OpenPage, kinds: dict[str, str], save_elsewhere: SaveElsewhere
) -> None:
    page = open_page("/runs")
    expect(page.locator(".rows .row").first).to_be_visible()
    expect(page.locator(".live.ok")).to_be_visible()
    loads(page)
    run_id = save_elsewhere(
        "print(storage.save_simulation_result('From afar', 'Solution1D',"
        " {'x': [0, 1], 'computed': [0, 1]}, equation='int(f, x) = far').id)"
    )
    row = page.locator(f"[data-run='{run_id}']")
    expect(row).to_be_visible()
    expect(row).to_contain_text("int(f, x) = far")
    expect(row.locator(".cell-results")).to_contain_text("1")
    expect(page.locator(".rows .row").first).to_have_attribute("data-run", run_id)
    assert loads(page) == 2


def test_what_is_said_of_a_run_is_not_what_is_said_of_the_connection(
    open_page: OpenPage, storage: AsgardStorage
) -> None:
    run = storage.create_run(
        name="Nobody finishes",
        metadata={
            "worst": float("nan"),
            "best": float("-inf"),
            "series": [1.5, float("nan")],
            "many": 10**30,
            "root": 1 - 2j,
        },
    )
    page = open_page(f"/runs/{run.id}")
    expect(page.locator(".live.ok")).to_have_text("Live updates")
    expect(page.locator(".run-head .status")).to_have_text("Active")
    about = page.locator(".about")
    for key, shown in (
        ("worst", "NaN"),
        ("best", "\u2212Inf"),
        ("series", "[1.5, NaN]"),
        ("many", "1" + "0" * 30),
        ("root", "1 \u22122i"),
    ):
        entry = about.locator("div", has=page.get_by_text(key, exact=True))
        expect(entry.locator("dd")).to_have_text(shown)
    expect(about).not_to_contain_text("$")


def test_a_result_saved_by_another_process_appears_on_the_page_of_its_run(
    open_page: OpenPage, storage: AsgardStorage, save_elsewhere: SaveElsewhere
) -> None:
    run = storage.create_run(name="Waiting")
    page = open_page(f"/runs/{run.id}")
    expect(page.get_by_role("heading", name="Waiting for the first result")).to_be_visible()
    expect(page.locator(".live.ok")).to_be_visible()
    loads(page)
    save_elsewhere(
        f"storage.add_result(run_id={run.id!r}, result_type='DiscreteSequence',"
        " data={'values': [3, 1, 4, 1, 5, 9, 2, 6]}, display={'title': 'Digits'})"
    )
    expect(page.get_by_role("heading", name="Digits")).to_be_visible()
    wait_for_paint(page, "article[data-kind=steps]", 500)
    save_elsewhere(f"storage.finish_run({run.id!r}, status='failed')")
    expect(page.locator(".run-head .status")).to_contain_text("Failed")
    assert loads(page) == 2


def test_an_appended_curve_grows_and_a_zoomed_one_keeps_its_window(
    open_page: OpenPage, storage: AsgardStorage
) -> None:
    run = storage.create_run(name="Growing")
    x = np.linspace(0, 1, 2_000)
    curves = [
        storage.add_result(
            run, result_type="Solution1D", data={"x": x, "computed": x}, display={"title": title}
        )
        for title in ("Free", "Held")
    ]
    page = open_page(f"/runs/{run.id}", height=1_200)
    free, held = (f"article[data-result='{curve.id}']" for curve in curves)
    wait_for_paint(page, free, 1_000)
    wait_for_paint(page, held, 1_000)
    over = page.locator(f"{held} .u-over")
    box = over.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 80, steps=4)
    page.mouse.up()
    expect(page.locator(held).get_by_role("button", name="Whole range")).to_be_visible()
    narrowed = re.compile(r"values from 0\.[12]\d* to 0\.[23]")
    expect(page.locator(f"{held} .plot")).to_have_attribute("aria-label", narrowed)
    name = page.locator(f"{held} .plot").get_attribute("aria-label")
    page.mouse.wheel(0, 40)
    page.wait_for_timeout(100)
    scrolled = page.evaluate("window.scrollY")
    for curve in curves:
        storage.append(curve, {"x": x + 1, "computed": x + 1})
    expect(page.locator(free)).to_contain_text("4\u2009000 points")
    expect(page.locator(held)).to_contain_text("4\u2009000 points")
    # From 0 to 2 now: the curve reaches the right edge of the grown axis.
    label = page.locator(f"{free} .plot")
    expect(label).to_have_attribute("aria-label", re.compile("0 to 2,"))
    wait_for_paint(page, free, 1_000)
    assert page.locator(free).evaluate(EDGES)["right"] > 0.9
    assert page.locator(f"{held} .plot").get_attribute("aria-label") == name
    assert page.evaluate("window.scrollY") == scrolled


def test_an_animation_that_grows_is_followed_to_its_live_end(
    open_page: OpenPage, storage: AsgardStorage
) -> None:
    run = storage.create_run(name="Filming")
    field = np.add.outer(np.arange(30.0), np.arange(40.0))
    frames = np.stack([field * k for k in range(1, 5)])
    film = storage.add_result(
        run, result_type="PhysicsAnimation", data={"t": np.arange(4.0), "frames": frames}
    )
    page = open_page(f"/runs/{run.id}")
    canvas = page.locator(".stage canvas")
    expect(canvas).to_have_attribute("data-drawn", "3")
    storage.append(film, {"t": np.arange(4.0, 7.0), "frames": frames[:3] * 2})
    expect(canvas).to_have_attribute("data-drawn", "6")
    page.get_by_role("slider", name="Frame").fill("1")
    storage.append(film, {"t": np.array([7.0]), "frames": frames[:1]})
    expect(page.locator("article")).to_contain_text("8 frames")
    expect(canvas).to_have_attribute("data-drawn", "1")


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A monitor of this test alone, to be stopped and started."""
    folder = tmp_path_factory.mktemp("own")
    running = Server(folder / "storage", folder / "monitor.log")
    running.start()
    yield running
    running.stop()


def test_the_indicator_tells_when_the_server_goes_and_the_page_catches_up_when_it_is_back(
    open_page: OpenPage, own_server: Server
) -> None:
    storage = AsgardStorage(str(own_server.storage), durability="relaxed")
    storage.create_run(name="Before")
    page = open_page("/runs", base=own_server.url)
    expect(page.get_by_text("Before")).to_be_visible()
    expect(page.locator(".live.ok")).to_be_visible()
    loads(page)
    own_server.stop()
    expect(page.get_by_text("Reconnecting")).to_be_visible(timeout=2_000)
    expect(page.get_by_text("last data")).to_be_visible()
    expect(page.get_by_text("Before")).to_be_visible()
    storage.create_run(name="Meanwhile")
    own_server.start()
    expect(page.get_by_text("Meanwhile")).to_be_visible()
    expect(page.get_by_text("Reconnecting")).to_be_hidden()
    assert loads(page) == 2


def test_an_empty_storage_says_how_the_first_run_is_made(
    open_page: OpenPage, own_server: Server, tmp_path: object
) -> None:
    page = open_page("/", base=own_server.url)
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    lines = page.locator(".code-block code").inner_text()
    assert len(lines.strip().splitlines()) == 3
    shown = lines.replace('"./storage"', repr(str(own_server.storage)))
    exec(compile(shown, "the page", "exec"), {})  # the lines that the page shows must work
    expect(page.get_by_role("link", name="My first run")).to_be_visible()
