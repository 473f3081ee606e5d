"""OpenAPI says of each operation whether a caller says who they are, and how: as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asgard_server.gateway.schema import asgard_schema

from tests.gateway.monitors import a_monitor

FOR_EVERYBODY = {
    "/healthz", "/readyz", "/metrics", "/s/{share_token}", "/v1/shared-jobs/{share_token}",
}  # fmt: skip


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Verb, path and security of each."""
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            yield verb, path, operation.get("security", document["security"])


async def test_who_shows_nothing_is_refused_exactly_where_open_api_says_so(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage", auth="required") as served:
        document = (await served.client.get("/openapi.json")).json()
        found: dict[str, set[bool]] = {}
        for verb, path, security in operations(document):
            address = re.sub(r"\{[^}]+\}", "1", path)
            answer = await served.client.request(verb, address)
            assert (answer.status_code == 401) is bool(security), (verb, path, answer.status_code)
            assert security in ([], [{"bearer": []}, {"cookie": []}]), (verb, path)
            found.setdefault(path, set()).add(bool(security))
    assert {path for path, asked in found.items() if False in asked} == FOR_EVERYBODY
    named = {
        scheme for _, _, security in operations(document) for each in security for scheme in each
    }
    assert named == document["components"]["securitySchemes"].keys() == {"bearer", "cookie"}


async def test_where_nobody_is_asked_a_call_may_show_nothing(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage") as served:
        document = (await served.client.get("/openapi.json")).json()
        assert document["security"] == [{"bearer": []}, {"cookie": []}, {}]
        for verb, path, security in operations(document):
            assert not security or {} in security, (verb, path)


def test_the_protos_say_which_methods_are_for_everybody() -> None:
    named = {rpc.name for rpc in asgard_schema().rpcs if rpc.for_everybody}
    assert named == {"GetSharedJob"}
