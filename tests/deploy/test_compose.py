"""deploy/compose.yaml: every process understands its settings, and no password is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from asgard_server.settings import Settings
from asgard_server.settings.who import check_can_ask

from tests.engines.nginx import TEMPLATE

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")
SECRETS = {
    *("POSTGRES_PASSWORD", "REDIS_PASSWORD", "MINIO_USER", "MINIO_PASSWORD"),
    *("SERVICE_KEY", "SESSION_KEY"),
}
IMAGE = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)?:[\w.-]+")


def services() -> dict[str, dict[str, Any]]:
    """The services, with secrets filled in."""
    text = VARIABLE.sub(
        lambda found: f"secret-{found[1].lower()}-that-is-as-long-as-it-has-to-be", FILE.read_text()
    )
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in services().items() if each["image"] == "asgard:dev"}


def test_every_process_understands_the_settings_it_is_given() -> None:
    assert ours().keys() == {"migrate", "bucket", "run", "asset", "blob", "gateway"}
    for each in ours().values():
        Settings.from_environment(each["environment"])
        assert each["read_only"] is True
        assert each["tmpfs"] == ["/tmp"]
        assert each["cap_drop"] == ["ALL"]


def test_two_replicas_share_engines_and_the_gateway_finds_both() -> None:
    run = services()["run"]
    assert run["deploy"]["replicas"] == 2
    settings = Settings.from_environment(run["environment"])
    assert settings.database_url
    assert settings.redis_url
    assert str(settings.storage) == "s3://asgard/storage"
    assert settings.s3_url == "http://minio:9000"
    assert int(run["stop_grace_period"].removesuffix("s")) > settings.drain_seconds
    gateway = Settings.from_environment(services()["gateway"]["environment"])
    assert gateway.run_address == "dns:///run:50051"
    assert gateway.blob_address == "dns:///blob:50053"
    assert gateway.asset_address == "dns:///asset:50052"
    asset = Settings.from_environment(services()["asset"]["environment"])
    assert asset.blob_address == gateway.blob_address
    assert (asset.database_url, asset.redis_url) == (settings.database_url, settings.redis_url)
    # All that has a password stays with who needs it.
    given = services()["gateway"]["environment"]
    assert {name for name, value in given.items() if "secret" in value} == {
        "ASGARD_SERVICE_KEY", "ASGARD_SESSION_KEY",
    }  # fmt: skip


def test_everybody_is_asked_who_they_are() -> None:
    served = {
        name: Settings.from_environment(services()[name]["environment"])
        for name in ("run", "asset", "blob", "gateway")
    }
    for name, settings in served.items():
        assert settings.auth == "required", name
        assert not settings.insecure, name
        assert settings.service_key == served["run"].service_key, name
        if name != "asset":
            check_can_ask(settings)
            assert settings.identity_address == served["gateway"].asset_address, name
    assert served["asset"].admins == ("admin",)
    assert served["asset"].run_address == served["gateway"].run_address
    assert served["gateway"].session_key


def test_blobs_lie_beside_the_documents_and_clients_are_sent_to_nginx() -> None:
    run, blob = (
        Settings.from_environment(services()[name]["environment"]) for name in ("run", "blob")
    )
    assert blob.storage == run.storage
    assert blob.database_url == run.database_url
    assert blob.s3_url == run.s3_url
    assert blob.redis_url == run.redis_url
    # So do the files of SimSwarm's jobs, in the bucket that is made for both.
    assert str(blob.minio_endpoint) == "minio:9000"
    assert str(blob.storage).startswith(f"s3://{blob.minio_bucket}/")
    nginx = services()["nginx"]
    listens = nginx["environment"]["NGINX_STORE_LISTEN"]
    # Signed for one address: it must be the same inside and outside of the container.
    assert blob.s3_public_url == f"http://localhost:{listens}"
    assert f"127.0.0.1:{listens}:{listens}" in nginx["ports"]
    assert nginx["environment"]["NGINX_STORE_ADDRESS"] in str(blob.s3_url)


@pytest.mark.parametrize("name", ["run", "blob"])
def test_services_wait_for_the_schema_and_the_bucket(name: str) -> None:
    done = {"condition": "service_completed_successfully"}
    waits = services()[name]["depends_on"]
    assert waits["migrate"] == done
    assert waits["bucket"] == done


def test_only_this_machine_reaches_what_nobody_guards() -> None:
    published = [port for each in services().values() for port in each.get("ports", ())]
    assert {"127.0.0.1:8000:8000", "127.0.0.1:50051:50051"} <= set(published)
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_are_named_with_their_versions_and_no_host() -> None:
    for name, each in services().items():
        assert IMAGE.fullmatch(each["image"]), name
        assert not each["image"].endswith(":latest"), name
        if "build" in each:
            context = FILE.parent / each["build"]["context"]
            assert (context / each["build"]["dockerfile"]).exists(), name


def test_the_compose_client_takes_it_where_there_is_one(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=_no_env)
    subprocess.run([folder / "compose-secrets.sh"], check=True, capture_output=True)
    client = ["docker", "compose"] if shutil.which("docker") else ["docker-compose"]
    if (
        shutil.which(client[0]) is None
        or subprocess.run([*client, "version"], capture_output=True, check=False).returncode
    ):
        return  # the other tests here hold what a client would
    said = subprocess.run(
        [*client, "-f", folder / "compose.yaml", "--profile", "monitoring", "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr


def _no_env(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == ".env"]


def test_passwords_are_made_once_at_random_and_for_the_owner_alone(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        script = shutil.copy(ROOT / "deploy" / "compose-secrets.sh", folder)
        for _ in range(2):  # the second time changes nothing
            subprocess.run([script], check=True, capture_output=True)
            text = (folder / ".env").read_text()
            made.append(dict(line.split("=", 1) for line in text.splitlines()))
        assert (folder / ".env").stat().st_mode & 0o077 == 0
    assert made[0] == made[1]
    assert made[0].keys() == SECRETS
    assert all(made[0][name] != made[2][name] for name in SECRETS)
    assert all(len(value) >= 12 for value in made[0].values())


def test_passwords_of_an_earlier_release_stay_and_new_ones_come(tmp_path: Path) -> None:
    script = shutil.copy(ROOT / "deploy" / "compose-secrets.sh", tmp_path)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=as-it-was\n")
    subprocess.run([script], check=True, capture_output=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert made.keys() == SECRETS
    assert made["POSTGRES_PASSWORD"] == "as-it-was"


def test_every_secret_is_asked_of_the_environment_and_git_ignores_the_file() -> None:
    text = FILE.read_text()
    assert {found[1] for found in VARIABLE.finditer(text)} == SECRETS
    assert text.count(":?run deploy/compose-secrets.sh first}") == len(VARIABLE.findall(text))
    ignored = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "--quiet", "deploy/.env"], check=False
    )
    assert ignored.returncode == 0


def test_nginx_is_given_what_its_template_asks_for() -> None:
    nginx = services()["nginx"]
    asked = set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text()))
    # The image of nginx finds the resolver by itself.
    assert asked == set(nginx["environment"]) - {"NGINX_ENTRYPOINT_LOCAL_RESOLVERS"} | {
        "NGINX_LOCAL_RESOLVERS"
    }
    mounted = nginx["volumes"][0].split(":")
    assert (FILE.parent / mounted[0]).resolve() == TEMPLATE
    assert mounted[1].startswith("/etc/nginx/templates/")
