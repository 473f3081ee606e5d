"""The page on Chronicle's client, and the calls of its original's page, run as written: against a
server on a laptop, and against a cluster that asks everybody who they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from methodic import AuthenticationError, Chronicle, ConflictError

from tests.cluster.required import a_required_cluster
from tests.engines import minio
from tests.gateway.monitors import Served
from tests.sdk.chronicles import a_server, in_a_thread
from tests.snippets.snippets import python_blocks, run_python

pytestmark = pytest.mark.timeout(600)  # a cluster is six programs, on a busy machine


@dataclass(frozen=True)
class Shape:
    """A server, the key that is shown to it, whose that is, and whom it knows beside him."""

    url: str
    api_key: str
    sub: str
    organization: str
    team: str
    colleague: str = "user_abc"

    def client(self, **settings: Any) -> Chronicle:
        """A client of it."""
        return Chronicle(server_url=self.url, api_key=self.api_key, **settings)


@pytest.fixture(scope="module", params=["embedded", "cluster"])
def shape(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Shape]:
    """Asgard as one process, and as processes of their own with PostgreSQL, Redis and MinIO."""
    folder = tmp_path_factory.mktemp("chronicle")
    if request.param == "embedded":
        with a_server(folder / "storage") as running:
            yield _embedded(running)
    else:
        with in_a_thread(_cluster(folder)) as found:
            yield found


def _embedded(served: Served) -> Shape:
    """A user of the documented id, a team and an organisation, which the local user makes."""
    with httpx.Client(base_url=served.url) as rest:

        def made(path: str, **body: Any) -> Any:
            answer = rest.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        made("/v1/users", id="user_abc", handle="abc")
        organization = made("/v1/organizations", slug="acme")
        team = made("/v1/teams", slug="wakes", organization_id=organization["id"])
    return Shape(served.url, "sk_user_nobody_knows", "local", organization["id"], team["id"])


@asynccontextmanager
async def _cluster(folder: Path) -> Any:
    """The same people, and one more who works there and whose key is shown."""
    engines = {"database": True, "bell": True, "s3": await asyncio.to_thread(minio.server)}
    async with a_required_cluster(folder, engines) as cluster:
        await cluster.ask("CreateUser", user_id="user_abc", handle="abc")
        organization = (await cluster.ask("CreateOrganization", slug="acme")).organization
        id: str = organization.organization_id
        team = (await cluster.ask("CreateTeam", slug="wakes", organization_id=id)).team
        key = await cluster.key_of("ada", "o/acme", "t/wakes")
        yield Shape(cluster.url, key, "user_ada", id, team.team_id)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("model.safetensors", "optimizer.pt", "metadata.json"):
        (folder / name).write_bytes(name.encode() * 1_000)
    return folder


def test_the_page_on_the_client(shape: Shape, out: Path) -> None:
    text = python_blocks("docs/chronicle.md")
    names = run_python(
        text,
        server=shape.url,
        api_key=shape.api_key,
        out=str(out),
        colleague=shape.colleague,
        organization=shape.organization,
        team=shape.team,
    )
    assert names["checkpoint"].size_bytes == len("model.safetensorsoptimizer.pt") * 1_000
    with shape.client() as chronicle:
        got = chronicle.assets.get(names["checkpoint"].id)
        assert (got.visibility, got.organization_id) == ("org_public", shape.organization)
        assert got.deprecated.reason == "superseded by the Re = 2000 sweep"
        run = chronicle.runs.get(names["experiment"].id, 0, 0)
        assert run.status == "succeeded"


def test_a_workers_calls(shape: Shape, out: Path) -> None:
    with shape.client() as chronicle:
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


def test_the_three_escalating_ways_out_of_use(shape: Shape) -> None:
    with shape.client() as chronicle:
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
def test_access_visibility_and_ownership(shape: Shape, visibility: str) -> None:
    with shape.client() as chronicle:
        asset_id = chronicle.assets.create_inline(
            "dataset", {}, organization_id=shape.organization, team_id=shape.team
        ).asset.id
        chronicle.assets.grant_access(asset_id, principal_id="user_abc", action="read")
        chronicle.assets.revoke_access(asset_id, principal_id="user_abc", action="read")
        chronicle.assets.list_access(asset_id)
        chronicle.assets.share_with_scope(asset_id, scope_id=shape.team)
        chronicle.assets.set_visibility(asset_id, visibility)
        own = chronicle.assets.create_inline("dataset", {}).asset.id
        chronicle.assets.move(own, organization_id=shape.organization, visibility="organization")
        assert chronicle.assets.get(own).created_by == shape.sub


def test_a_cluster_takes_no_key_that_it_does_not_know(shape: Shape) -> None:
    with Chronicle(server_url=shape.url, api_key="sk_user_nobody_knows") as chronicle:
        if shape.sub == "local":
            assert chronicle.assets.list(asset_type="none") == []
            return
        with pytest.raises(AuthenticationError):
            chronicle.assets.list()


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
