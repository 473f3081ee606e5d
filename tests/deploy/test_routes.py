"""Every service that clients call is reached through the one public address of gRPC."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from asgard_server.gateway import schema

ROOT = Path(__file__).parents[2]
SERVICES = sorted({each.service for each in schema.asgard_schema().rpcs})


@pytest.mark.parametrize("service", SERVICES)
def test_nginx_has_a_way_to_each_service(service: str) -> None:
    text = (ROOT / "deploy" / "nginx" / "asgard.conf.template").read_text()
    plain = re.findall(r"location (/\S+) \{", text)
    patterns = re.findall(r"location ~ (\S+) \{", text)
    path = f"/{service}/Method"
    found = any(path.startswith(each) for each in plain if each != "/")
    assert found or any(re.search(each, path) for each in patterns)


@pytest.mark.parametrize("service", SERVICES)
def test_the_ingress_has_a_way_to_each_service(service: str) -> None:
    file = ROOT / "deploy" / "kubernetes" / "components" / "ingress" / "grpc.yaml"
    rules = [
        rule
        for document in yaml.safe_load_all(file.read_text())
        if document["kind"] == "Ingress"
        for rule in document["spec"]["rules"]
    ]
    paths = [path["path"] for rule in rules for path in rule["http"]["paths"]]
    assert f"/{service}" in paths
