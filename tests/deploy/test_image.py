"""deploy/docker: the Dockerfiles, what they install, and the programs they carry."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import boto3
import pytest
from checks import dockerfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cluster.processes import a_cluster
from tests.engines import versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "docker"
PIN = re.compile(r"^([\w.-]+)==([\w.+!]+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["Dockerfile", "minio.Dockerfile"])
def test_a_dockerfile_has_no_fault(name: str) -> None:
    assert list(dockerfile.faults(FOLDER / name)) == []


def test_faults_of_a_dockerfile_are_found(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(
        "FROM images.example.com/python\nCOPY nothing/here .\nCOPY --from=gone /a /b\n"
        "USER asgard\nHEALTHCHECK CMD curl localhost\nENTRYPOINT asgard\n"
    )
    said = "\n".join(dockerfile.faults(bad))
    for part in ("no host", "nothing/here", "no such stage", "not a number", "HEALTHCHECK curl"):
        assert part.replace("HEALTHCHECK curl", "HEALTHCHECK CMD curl") in said
    assert "ENTRYPOINT asgard" in said
    assert "image.licenses" in said


def test_steps_of_a_dockerfile_become_a_script(tmp_path: Path) -> None:
    context, target = tmp_path / "context", tmp_path / "target"
    (context / "some").mkdir(parents=True)
    (context / "some" / "file").write_text("one")
    (context / "other").write_text("two")
    text = (
        f"FROM debian:bookworm-slim AS first\nENV GREETING='good day' A=1\nWORKDIR {target}\n"
        'COPY some ./\nCOPY other sub/\nRUN echo "$GREETING" \\\n  && echo $A >> file\n'
        f"FROM debian:bookworm-slim\nCOPY --from=first {target}/file {target}/copied\n"
        f'RUN test -z "$GREETING"\n'
    )
    script = dockerfile.script(text)
    environ = {**os.environ, "CONTEXT": str(context)}
    subprocess.run(["bash", "-c", script], env=environ, check=True, capture_output=True)
    assert (target / "file").read_text() == "one1\n"
    assert (target / "copied").read_text() == "one1\n"
    assert (target / "sub" / "other").read_text() == "two"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_the_image_installs_the_versions_that_are_tested(name: str) -> None:
    tested = dict(PIN.findall((ROOT / "requirements.txt").read_text()))
    text = (FOLDER / name).read_text()
    installed = dict(PIN.findall(text))
    assert installed
    assert {p: v for p, v in installed.items() if tested.get(p) != v} == {}, "run `make lock`"
    assert [b for b in re.split(r"\n(?=\w)", text) if PIN.match(b) and "--hash=" not in b] == []


def test_the_image_installs_what_the_distributions_ask_for() -> None:
    installed = {
        canonicalize_name(name): version
        for name, version in PIN.findall((FOLDER / "requirements.txt").read_text())
    }
    missing = []
    for project in ("services", "clients/python"):
        table = tomllib.loads((ROOT / project / "pyproject.toml").read_text())["project"]
        for lines in (table["dependencies"], *table["optional-dependencies"].values()):
            for need in map(Requirement, lines):
                version = installed.get(canonicalize_name(need.name))
                if need.name != "gimle-asgard" and (
                    version is None or not need.specifier.contains(version, prereleases=True)
                ):
                    missing.append(str(need))
    assert missing == [], "run `make lock`"


def test_minio_is_built_in_the_version_that_is_tested() -> None:
    built = re.search(r"minio@(\S+)", (FOLDER / "minio.Dockerfile").read_text())
    tested = re.search(r"minio@(\S+)", (ROOT / ".ci" / "setup-engines").read_text())
    assert built is not None
    assert tested is not None
    assert built[1] == tested[1]


async def test_the_healthcheck_knows_who_lives(tmp_path: Path) -> None:
    def healthy(metrics_port: int) -> int:
        environ = {
            **os.environ,
            "ASGARD_METRICS_PORT": str(metrics_port),
            "ASGARD_PORT": "1",  # where nobody is
        }
        script = FOLDER / "healthy.py"
        return subprocess.run([sys.executable, script], env=environ, check=False).returncode

    async with a_cluster(tmp_path) as cluster:
        replica, gateway = cluster.replicas[0], cluster.gateway
        assert healthy(replica.metrics_port) == 0
        assert healthy(gateway.metrics_port) == 0
        await replica.kill()
        assert healthy(replica.metrics_port) == 1
        # The gateway is not ready without it, and lives.
        assert healthy(gateway.metrics_port) == 0


def test_the_bucket_is_made_once_and_a_wrong_key_is_told() -> None:
    store = versitygw.server()
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "AWS_"))}
    environ |= {
        "ASGARD_STORAGE": "s3://made-by-hand/storage",
        "ASGARD_S3_ENDPOINT": store.endpoint,
        "ASGARD_S3_ACCESS_KEY": ACCESS_KEY,
        "ASGARD_S3_SECRET_KEY": SECRET_KEY,
    }
    # What compose and the manifests run in the image.
    command = [sys.executable, "-m", "gimle.asgard.cli", "blob", "init", "--wait", "120"]
    for outcome in ("made", "there"):
        said = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        assert f"bucket: {outcome}" in said.stdout
    wrong = environ | {"ASGARD_S3_SECRET_KEY": "wrong", "ASGARD_STORAGE": "s3://another"}
    said = subprocess.run(command, env=wrong, capture_output=True, text=True, check=False)
    assert said.returncode == 3  # at once: a wrong key is not waited for
    assert "credentials" in said.stderr
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    client.head_bucket(Bucket="made-by-hand")
