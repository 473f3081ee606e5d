"""A page token is what a caller sends: what is in it is read, or refused, and never a defect."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgard_server.rpc import pages
from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.monitors import Served, a_monitor

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8")) | st.from_regex(r"-?\d{0,40}/.*", fullmatch=True)


@given(TEXTS, st.text(max_size=20))
def test_what_a_page_begins_behind_comes_back(text: str, listing: str) -> None:
    assert pages.behind(pages.token(listing, text), listing) == text


@given(st.timedeltas(timedelta(days=-9_000), timedelta(days=300_000)), TEXTS)
def test_a_place_comes_back(since: timedelta, id: str) -> None:
    assert pages.place(pages.place_token("l", NOON + since, id), "l") == (NOON + since, id)


@given(TEXTS)
def test_what_a_caller_has_made_is_read_or_refused(text: str) -> None:
    made = pages.token("l", text)
    for read in (pages.number, pages.place):
        try:
            read(made, "l")
        except PageTokenMismatchError:
            continue


@pytest.mark.parametrize("page_token", ["x", "é", "AAAA", "=" * 9, pages.token("other", "a")])
def test_a_token_of_another_list_is_refused(page_token: str) -> None:
    with pytest.raises(PageTokenMismatchError, match="send back next_page_token as it came"):
        pages.behind(page_token, "l")


def test_sizes_have_a_default_and_an_end() -> None:
    assert [pages.size(asked) for asked in (0, 7, 5_000)] == [50, 7, 1_000]
    with pytest.raises(InvalidFieldError, match="page_size"):
        pages.size(-1)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage") as running:
        yield running


LISTS = {
    "/v1/assets": "assets",
    "/v1/review-queue": "assets",
    "/v1/assets/{id}/flags": "entries",
    "/v1/assets/{id}/versions": "versions",
    "/v1/audit": "entries",
    "/v1/experiments": "experiments",
    "/v1/api-keys": "api_keys",
}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("tail", [b"x", b"9" * 30, b"/", b"\xff", b"1e5/x"])
async def test_a_token_with_something_else_in_it_is_a_bad_request(
    served: Served, path: str, tail: bytes
) -> None:
    async def post(where: str, **body: object) -> dict[str, str]:
        answer = await served.client.post(where, json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, str] = answer.json()
        return made.get("asset", made)  # type: ignore[return-value]  # an asset is within

    ids = []
    for number in range(2):
        asset = {"asset_type": "x", "content": number, "name": "n"}
        ids.append((await post("/v1/assets", **asset))["id"])
        await post("/v1/assets", asset_type="x", content=1, pending_reasons=["r"])
        await post("/v1/experiments", hypothesis_summary="s")
        await post("/v1/api-keys", name=f"k{number}", key_type="user")
        for flag in ("deprecate", "invalidate"):
            flagged = await served.client.put(
                f"/v1/assets/{ids[0]}/{flag}", json={"reason": f"r{number}"}
            )
            assert flagged.status_code == 200
    where = path.format(id=ids[0])
    first = (await served.client.get(where, params={"page_size": 1})).json()
    token = first["next_page_token"]
    assert token, first
    packed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    forged = urlsafe_b64encode(packed[:8] + tail).decode().rstrip("=")
    answer = await served.client.get(where, params={"page_size": 1, "page_token": forged})
    assert (answer.status_code, answer.json()["reason"]) == (400, "PAGE_TOKEN_MISMATCH")
