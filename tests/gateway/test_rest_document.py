"""docs/rest-api.md says what the server does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from asgard_server.gateway.openapi.document import document
from asgard_server.gateway.problems import STATUS_OF_CODE
from asgard_server.gateway.schema import asgard_schema

TEXT = (Path(__file__).parents[2] / "docs" / "rest-api.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
DESCRIBED = document(asgard_schema(), "test")
SCHEMAS = DESCRIBED["components"]["schemas"]


def test_every_path_of_open_api_is_written_down_and_no_other() -> None:
    written = set(re.findall(r"`(?:(?:GET|POST|PUT|PATCH|DELETE) )?(/(?:api|v1)/[\w/{}:-]+)", TEXT))
    assert written == {path for path in DESCRIBED["paths"] if path.startswith(("/api/", "/v1/"))}


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("RunItem", EXAMPLES[0][0]),
        ("RunWithResults", EXAMPLES[1]),
        ("DrawnResult", EXAMPLES[1]["results"][0]),
        ("Deleted", EXAMPLES[2]),
        ("ResultDetail", EXAMPLES[3]),
        ("Problem", EXAMPLES[4]),
        ("Health", EXAMPLES[5]),
    ],
)
def test_an_example_has_the_fields_that_open_api_names(name: str, example: dict[str, Any]) -> None:
    known = SCHEMAS[name]
    assert set(known["required"]) <= set(example) <= set(known["properties"])


def test_every_grpc_status_has_its_row_in_the_table_of_errors() -> None:
    rows = dict(re.findall(r"^\| (\d{3}) \| ([^|]+) \|", TEXT, re.MULTILINE))
    for code, status in STATUS_OF_CODE.items():
        assert f"`{code.name}`" in rows[str(status)], code
    assert {c for c in grpc.StatusCode if c is not grpc.StatusCode.OK} == set(STATUS_OF_CODE)


def test_a_repeated_field_alone_is_described_as_a_list() -> None:
    said = DESCRIBED["paths"]["/v1/experiments/{experiment_id}/outputs"]["get"]["responses"]["200"]
    schema = said["content"]["application/json"]["schema"]
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/LinkedAsset"}}


@pytest.mark.parametrize(
    "handle", ["o/acme", "t/ml-team", "@alice", "auth0|5f7c8ec7c33c6c004bbafe82"]
)
def test_open_api_lets_handles_and_subs_stand_where_principals_are_asked_for(handle: str) -> None:
    for name, field in (
        ("GrantAccessRequest", "principal_id"),
        ("MoveAssetRequest", "organization_id"),
        ("MoveAssetRequest", "team_id"),
        ("CreateAssetRequest", "organization_id"),
    ):
        asked = SCHEMAS[name]["properties"][field]
        assert re.search(asked.get("pattern", ""), handle), (name, field)
    assert not re.search(SCHEMAS["CreateAssetRequest"]["properties"]["id"]["pattern"], handle)
