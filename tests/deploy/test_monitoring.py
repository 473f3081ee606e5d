"""Alerts and dashboard: over metrics that processes show; each alert fires and is explained."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gimle.asgard.v1 import run_service_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.processes import a_cluster, eventually
from tests.deploy.asset_replicas import asset_replicas
from tests.deploy.blob_replicas import blob_replicas
from tests.engines import versitygw
from tests.engines.unpacked import program

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "asgard.rules.yaml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "asgard.rules.test.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "asgard.json"
ALERTS = ROOT / "docs" / "operate" / "alerts.md"

METRIC = re.compile(r"\b((?:asgard|process|python)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
GROUPED = re.compile(r"\bby\s*\(([^)]*)\)")
# What Prometheus itself puts on every series.
TARGET = {"job", "instance"}


def alerts() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def expressions() -> Iterator[tuple[str, str]]:
    """Everything asked of Prometheus, with who asks it."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def with_range(expression: str) -> str:
    """An expression with a range and with jobs where Grafana puts its own."""
    ranged = expression.replace("$__rate_interval", "5m")
    return re.sub(r"\$(job|instance)", ".+", ranged)


async def test_every_name_is_one_that_the_processes_show(tmp_path: Path) -> None:
    async with (
        a_cluster(tmp_path, bell=True, database=True, s3=versitygw.server()) as cluster,
        blob_replicas(cluster) as (blobs,),
        asset_replicas(cluster) as (assets,),
        cluster.client() as client,
        cluster.stub() as stub,
        client.stream("GET", "/api/updates"),
    ):
        await stub.CreateRun(pb.CreateRunRequest(name="counted"))

        async def listed() -> bool:
            return bool((await client.get("/api/runs")).json())

        await eventually(listed)
        texts = [
            (await client.get(f"{process.metrics}/metrics")).text
            for process in (cluster.replicas[0], assets, blobs, cluster.gateway)
        ]
    shown: dict[str, set[str]] = {}
    for text in texts:
        for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE):
            shown.setdefault(name, set())
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                shown.setdefault(sample.name, set()).update(sample.labels)
    families = set(shown) | {
        f"{name}{suffix}" for name in shown for suffix in ("_bucket", "_count", "_sum")
    }
    unknown = []
    for asker, expression in expressions():
        grouped = {
            label.strip() for found in GROUPED.findall(expression) for label in found.split(",")
        }
        for name, selector in METRIC.findall(expression):
            if name not in families:
                unknown.append(f"{asker}: {name}")
                continue
            labels = shown.get(name, set())
            asked = set(MATCHER.findall(selector)) | grouped
            # A metric that has counted nothing yet shows no labels.
            if labels and not asked <= labels | TARGET:
                unknown.append(f"{asker}: {name} by {sorted(asked - labels - TARGET)}")
    assert unknown == []


def test_prometheus_understands_the_rules_and_fires_each_alert() -> None:
    for command in (["check", "rules", RULES], ["test", "rules", RULE_TESTS]):
        said = subprocess.run(
            [program("promtool"), *map(str, command)], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr
    fired = {
        case["alertname"]
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in alerts()}


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [with_range(expression) for _, expression in expressions()]
    rules = [{"record": f"dashboard:{n}", "expr": e} for n, e in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = subprocess.run(
        [program("promtool"), "check", "rules", "--lint=none", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_is_explained_where_it_says(alert: dict[str, Any]) -> None:
    path, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert ROOT / path == ALERTS
    assert anchor == alert["alert"].lower()
    section = re.search(rf"^## {alert['alert']}\n(.*?)(?=^## |\Z)", ALERTS.read_text(), re.M | re.S)
    assert section is not None, f"{path} has no section {alert['alert']}"
    assert "What it means" in section[1]
    assert "What to do" in section[1]


def test_no_section_explains_an_alert_that_is_gone() -> None:
    explained = re.findall(r"^## (Asgard\w+)$", ALERTS.read_text(), re.M)
    assert sorted(explained) == sorted(rule["alert"] for rule in alerts())
