from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from asgard_server.gateway.app import GatewayOptions, create_app

from tests.gateway.toys import serving


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><script src=/assets/main-ABCD1234.js>")
    (folder / "assets" / "main-ABCD1234.js").write_text("console.log(1);\n" * 500)
    (folder / "assets" / "ready-ABCD1234.js").write_text("plain " * 500)
    (folder / "assets" / "ready-ABCD1234.js.gz").write_bytes(gzip.compress(b"made before " * 9))
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "secret.py").write_text("no such type is served")
    (tmp_path / "outside.txt").write_text("outside")
    return folder


@asynccontextmanager
async def a_page(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    channel = grpc.aio.insecure_channel("unix-abstract:asgard-test-nobody-is-here")
    app = create_app(channel, GatewayOptions(static_folder=folder))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        yield client
        app.state.stop_streams()
    await channel.close()


async def test_hashed_files_are_kept_for_ever_and_the_page_is_asked_for(built: Path) -> None:
    async with a_page(built) as client:
        for path in ("/", "/index.html", "/runs", "/runs/some-run"):
            page = await client.get(path)
            assert page.text.startswith("<!doctype html>"), path
            assert page.headers["cache-control"] == "no-cache"
        script = await client.get("/assets/main-ABCD1234.js")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["content-encoding"] == "gzip"
        icon = await client.get("/favicon.svg")
        assert (icon.headers["cache-control"], icon.headers["content-type"]) == (
            "no-cache",
            "image/svg+xml",
        )
        again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_a_file_compressed_at_build_time_is_sent_as_it_is(built: Path) -> None:
    async with a_page(built) as client:
        assert (await client.get("/assets/ready-ABCD1234.js")).text == "made before " * 9
        plain = await client.get(
            "/assets/ready-ABCD1234.js", headers={"accept-encoding": "identity"}
        )
        assert plain.text == "plain " * 500


@pytest.mark.parametrize(
    "path",
    ["/secret.py", "/assets/", "/assets", "/nothing.js", "/../outside.txt", "/%2e%2e/outside.txt",
     "/..%2foutside.txt", "//etc/passwd", "/assets/../../outside.txt", "/runs/a/b", "/a%00"],
)  # fmt: skip
async def test_nothing_but_the_built_files_is_served(built: Path, path: str) -> None:
    async with a_page(built) as client:
        raw = httpx.URL(str(client.base_url)).copy_with(raw_path=path.encode())
        answer = await client.send(httpx.Request("GET", raw))
        assert answer.status_code in (400, 404)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_mistyped_address_in_a_browser_is_a_page_that_leads_back(built: Path) -> None:
    html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with a_page(built) as client:
        for path in ("/runz", "/runs/a/b", "/%3Cscript%3Ealert(1)%3C/script%3E"):
            answer = await client.get(path, headers=html)
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "script-src 'self'" in answer.headers["content-security-policy"]
            assert '<a href="/runs">' in answer.text
            assert "script" not in answer.text
            assert "style" not in answer.text
        for path in ("/api/runz", "/v1/runz", "/assets/nothing.js"):
            answer = await client.get(path, headers=html)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_page_built_again_is_seen_without_a_restart(built: Path) -> None:
    async with a_page(built) as client:
        assert "main-ABCD1234" in (await client.get("/")).text
        (built / "index.html").write_text("<!doctype html>new")
        os.utime(built / "index.html", (1, 1))
        for _ in range(200):
            if (await client.get("/")).text.endswith("new"):
                return
            await client.get("/healthz")
            await asyncio.sleep(0.02)
        pytest.fail("still the old page")


async def test_without_a_build_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    async with a_page(tmp_path / "nothing") as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "make setup" in answer.text
        assert (await client.get("/healthz")).status_code == 200


async def test_a_service_that_is_away_is_503_with_its_mend_and_updates_wait(
    tmp_path: Path,
) -> None:
    async with a_page(tmp_path) as client:
        for path in ("/api/runs", "/v1/runs", "/readyz", "/api/run?id=a"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "unix" not in answer.text, "addresses inside are nobody's business"
        async with client.stream("GET", "/api/updates") as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    assert line == 'data: {"type":"connected"}'
                    break
