"""The example of a pod with weights from the store: its own words, run against a store."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checks import kubernetes

from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY
from tests.sdk.hub_server import a_hub
from tests.sdk.model_shop import COMMIT, FILES, LOADS

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"s3-access-key": ACCESS_KEY, "s3-secret-key": SECRET_KEY}
FOLDER = "models--Qwen--Qwen3-14B"
Manifest = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    if not (kubernetes.CACHE / "schemas" / "operators").exists():
        subprocess.run([ROOT / ".ci" / "setup-kubernetes"], check=True)


@functools.cache
def manifests() -> list[Manifest]:
    (example,) = (path for path in kubernetes.examples() if path.name == "model-server")
    return list(yaml.safe_load_all(kubernetes.built(example)))


def template() -> Manifest:
    (deployment,) = (each for each in manifests() if each["kind"] == "Deployment")
    found: Manifest = deployment["spec"]["template"]
    return found


def environ_of(container: Manifest) -> dict[str, str]:
    """The variables that a container gets, as the kubelet makes them."""
    maps = {e["metadata"]["name"]: e["data"] for e in manifests() if e["kind"] == "ConfigMap"}
    environ: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        environ |= maps[source["configMapRef"]["name"]]
    for each in container["env"]:
        source = each.get("valueFrom", {})
        if "value" in each:
            environ[each["name"]] = each["value"]
        elif "fieldRef" in source:
            key = re.fullmatch(r"metadata\.annotations\['(.+)'\]", source["fieldRef"]["fieldPath"])
            assert key is not None
            environ[each["name"]] = template()["metadata"]["annotations"][key[1]]
        elif source["secretKeyRef"]["key"] in SECRETS:
            environ[each["name"]] = SECRETS[source["secretKeyRef"]["key"]]
        else:
            assert source["secretKeyRef"]["optional"] is True
    return environ


def expanded(words: list[str], environ: dict[str, str]) -> list[str]:
    """$(NAME) in the words of a container, which needs no shell."""
    return [re.sub(r"\$\((\w+)\)", lambda found: environ[found[1]], word) for word in words]


class Pod:
    """The init container and the server, with the volume in a folder and the store on this host."""

    def __init__(self, folder: Path, store: dict[str, str]) -> None:
        (self.pulling,) = template()["spec"]["initContainers"]
        (self.serving,) = template()["spec"]["containers"]
        self._folder, self._store = folder, store

    def environ(self, container: Manifest) -> dict[str, str]:
        (mount,) = (e for e in container["volumeMounts"] if e["name"] == "model-weights")
        environ = environ_of(container)
        if "ASGARD_S3_ENDPOINT" in environ:
            environ |= self._store
        home = Path(environ["HF_HOME"]).relative_to(mount["mountPath"])
        return environ | {"HF_HOME": str(self._folder / home)}

    def pull(self, **more: str) -> subprocess.CompletedProcess[str]:
        environ = self.environ(self.pulling)
        assert "command" not in self.pulling, "the image's own: asgard"
        words = expanded(self.pulling["args"], environ)
        return run(["-m", "gimle.asgard.cli", *words], {**environ, **more})

    def load(self) -> str:
        words = expanded(self.serving["args"], self.environ(self.serving))
        id = words[words.index("--model") + 1]
        loads = LOADS.replace("acme/tiny-model", id)
        return run(["-c", loads], self.environ(self.serving)).stdout


def run(words: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, *words],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **away, **environ},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    store = minio.server()
    bucket = store.bucket()
    for name, body in FILES.items():
        key = f"models/hf-cache/{FOLDER}/snapshots/{COMMIT}/{name}"
        store.client().put_object(Bucket=bucket, Key=key, Body=body)
    return Pod(tmp_path, {"ASGARD_S3_ENDPOINT": store.endpoint, "MINIO_BUCKET": bucket})


def test_the_server_finds_offline_what_the_init_container_has_pulled(pod: Pod) -> None:
    pulled = pod.pull()
    assert pulled.returncode == 0, pulled.stderr
    assert COMMIT in pod.load()
    assert "there already" in pod.pull().stdout, "a pod that starts again fetches nothing"


def test_it_falls_back_and_says_why(pod: Pod, tmp_path: Path) -> None:
    with a_hub("Qwen/Qwen3-14B", COMMIT, FILES) as (address, asked):
        pulled = pod.pull(MINIO_BUCKET="not-there", HF_ENDPOINT=address)
    assert pulled.returncode == 0, pulled.stderr
    assert "NoSuchBucket" in pulled.stderr
    assert asked
    assert COMMIT in pod.load()


def test_without_weights_the_pod_does_not_begin(pod: Pod) -> None:
    failed = pod.pull(MINIO_BUCKET="not-there")
    assert failed.returncode == 1
    assert "Hugging Face cannot give Qwen/Qwen3-14B" in failed.stderr


def test_no_container_has_a_shell_and_all_are_confined() -> None:
    spec = template()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    volumes = {each["name"] for each in spec["volumes"]}
    for container in [*spec["initContainers"], *spec["containers"]]:
        words = [*container.get("command", ()), *container["args"]]
        assert not {"sh", "bash", "/bin/sh", "/bin/bash", "-c"} & set(words)
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_the_secret_is_not_contained_and_is_documented() -> None:
    assert not [each for each in manifests() if each["kind"] == "Secret"]
    guide = (ROOT / "docs" / "model-weights.md").read_text()
    for container in template()["spec"]["initContainers"]:
        for each in container["env"]:
            if secret := each.get("valueFrom", {}).get("secretKeyRef"):
                assert secret["name"] in guide
                assert secret["key"] in guide
