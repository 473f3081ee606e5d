"""A real monitor, a real Chromium, and a page that is watched for every complaint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.showing import Server, Watched, every_kind, find_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module; each test gets a context of its own.

    Not for the session: Playwright holds a running loop in this thread, beside which no
    asynchronous test of another module can run.
    """
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A monitor that all tests share; they only add to what it shows."""
    folder = tmp_path_factory.mktemp("browser")
    running = Server(folder / "storage", folder / "monitor.log")
    running.start()
    yield running
    running.stop()
    print(running.log.read_text())


@pytest.fixture(scope="session")
def storage(server: Server) -> AsgardStorage:
    """The storage of the shared monitor, opened by another process than the monitor's."""
    return AsgardStorage(str(server.storage), durability="relaxed")


@pytest.fixture(scope="session")
def kinds(storage: AsgardStorage) -> dict[str, str]:
    """A run for each kind of view, by kind."""
    return every_kind(storage)


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Open pages, and at the end tell of every complaint of the browser about them.

    A complaint is a message in the console, an exception, a violation of the policy, or a request
    to anybody but the monitor.
    """
    watched: list[Watched] = []

    def open_at(
        path: str, width: int = 1280, height: int = 800, base: str = "", **options: object
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            **options,  # type: ignore[arg-type] # colour scheme and the like, as Playwright takes them
        )
        context.set_default_timeout(10_000)
        page = context.new_page()
        watched.append(Watched(page, base or server.url))
        page.goto((base or server.url) + path)
        return page

    yield open_at
    complaints = [text for one in watched for text in one.complaints]
    for one in watched:
        one.page.context.close()
    assert complaints == []


@pytest.fixture
def save_elsewhere(server: Server, tmp_path: Path) -> Callable[[str], str]:
    """Run lines of Python in another process, with `storage` open; answer what they print."""

    def save(lines: str) -> str:
        return server.python(sys.executable, lines, tmp_path)

    return save
