"""The page on Chronicle's client, and the calls of its original's page, run as written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from methodic import Chronicle, ConflictError

from tests.gateway.monitors import Served
from tests.sdk.chronicles import a_client, a_server
from tests.snippets.snippets import python_blocks, run_python


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with a_server(tmp_path_factory.mktemp("chronicle") / "storage") as running:
        yield running


@pytest.fixture(scope="module")
def people(served: Served) -> dict[str, Any]:
    """A user of the documented id, a team and an organisation, which the local user makes."""
    with httpx.Client(base_url=served.url) as rest:

        def made(path: str, **body: Any) -> Any:
            answer = rest.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        made("/v1/users", id="user_abc", handle="abc")
        organization = made("/v1/organizations", slug="acme")
        team = made("/v1/teams", slug="wakes", organization_id=organization["id"])
    return {"colleague": "user_abc", "organization": organization["id"], "team": team["id"]}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("model.safetensors", "optimizer.pt", "metadata.json"):
        (folder / name).write_bytes(name.encode() * 1_000)
    return folder


def test_the_page_on_the_client(served: Served, people: dict[str, Any], out: Path) -> None:
    text = python_blocks("docs/chronicle.md")
    names = run_python(text, server=served.url, out=str(out), **people)
    assert names["checkpoint"].size_bytes == len("model.safetensorsoptimizer.pt") * 1_000
    with a_client(served) as chronicle:
        got = chronicle.assets.get(names["checkpoint"].id)
        assert (got.visibility, got.organization_id) == ("org_public", people["organization"])
        assert got.deprecated.reason == "superseded by the Re = 2000 sweep"
        run = chronicle.runs.get(names["experiment"].id, 0, 0)
        assert run.status == "succeeded"


def test_a_workers_calls(served: Served, out: Path) -> None:
    with a_client(served) as chronicle:
        run = started(chronicle)
        run.upload_asset(
            asset_type="takeaways_report",
            content={"summary": "Loss converged at step 12000", "key_findings": [...]},
        )
        upload_info = run.create_asset_presigned(
            asset_type="checkpoint",
            components=["model.safetensors", "optimizer.pt", "metadata.json"],
        )
        for filename, url in upload_info.upload_urls.items():
            run.upload_component(
                url, local_path=out / filename, content_type="application/octet-stream"
            )
        run.finalize_asset(upload_info.asset_id)
        outputs = run.list_outputs()
        assert {each.asset_type for each in outputs} == {"takeaways_report", "checkpoint"}
        assert outputs[0].output_of == run.output_of
        run.succeed()


def test_the_three_escalating_ways_out_of_use(served: Served) -> None:
    with a_client(served) as chronicle:
        run = started(chronicle)
        asset_id = run.upload_asset("dataset", {"x": 1}).asset.id
        chronicle.assets.deprecate(asset_id, reason="superseded by the Re=2000 sweep")
        chronicle.assets.invalidate(asset_id, reason="labeling bug in the source data")
        with pytest.raises(ConflictError) as linked:
            chronicle.assets.delete(asset_id)
        assert (linked.value.status, linked.value.code) == (409, "asset_linked")
        assert linked.value.links["experiment_output_assets"] == 1
        orphan = chronicle.assets.create_inline("dataset", {"x": 1}).asset.id
        chronicle.assets.delete(orphan)


@pytest.mark.parametrize("visibility", ["private", "organization", "team", "public"])
def test_access_visibility_and_ownership(
    served: Served, people: dict[str, Any], visibility: str
) -> None:
    with a_client(served) as chronicle:
        asset_id = chronicle.assets.create_inline(
            "dataset", {}, organization_id=people["organization"], team_id=people["team"]
        ).asset.id
        chronicle.assets.grant_access(asset_id, principal_id="user_abc", action="read")
        chronicle.assets.revoke_access(asset_id, principal_id="user_abc", action="read")
        chronicle.assets.list_access(asset_id)
        chronicle.assets.share_with_scope(asset_id, scope_id=people["team"])
        chronicle.assets.set_visibility(asset_id, visibility)
        own = chronicle.assets.create_inline("dataset", {}).asset.id
        chronicle.assets.move(
            own, organization_id=people["organization"], visibility="organization"
        )
        assert chronicle.assets.get(own).created_by == "local"


def started(chronicle: Chronicle) -> Any:
    """A run of a new experiment that has begun."""
    report = chronicle.assets.create_inline(
        "hypothesis_report", "# Why\n", content_type="text/markdown"
    ).asset
    experiment = chronicle.experiments.create(hypothesis_summary="it converges")
    chronicle.experiments.add_inputs(experiment.id, [report.id])
    chronicle.variations.create(experiment.id, config_yaml="lr: 0.1")
    chronicle.experiments.commit(experiment.id)
    return chronicle.run(experiment.id, 0, 0).start()
