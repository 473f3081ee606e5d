"""The manifests of both overlays, as kustomize builds them, against what Asgard says of itself."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from asgard_server.settings import Settings
from asgard_server.settings.sign_in import check_can_sign_in
from asgard_server.settings.who import check_can_ask
from checks import kubernetes

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = [path.name for path in kubernetes.overlays()]
SERVICES = {
    "asgard-run": "RunService",
    "asgard-asset": "AssetService",
    "asgard-blob": "BlobService",
}
SERVED = (*SERVICES, "asgard-gateway")
Manifest = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    if not (kubernetes.CACHE / "schemas" / "operators").exists():
        subprocess.run([ROOT / ".ci" / "setup-kubernetes"], check=True)


@functools.cache
def manifests(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(kubernetes.built(kubernetes.MANIFESTS / "overlays" / overlay)))


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Every pod's specification, by Kind/name."""
    for manifest in manifests(overlay):
        template = manifest.get("spec", {}).get("template")
        if template:
            yield f"{manifest['kind']}/{manifest['metadata']['name']}", template["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def one(overlay: str, kind: str, name: str) -> Manifest:
    (found,) = (
        each
        for each in manifests(overlay)
        if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return found


def environ_of(overlay: str, container: Manifest) -> dict[str, str]:
    """The ASGARD_* variables that a container gets; secrets as something that can be read."""
    maps = {
        each["metadata"]["name"]: each["data"]
        for each in manifests(overlay)
        if each["kind"] == "ConfigMap"
    }
    environ: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        environ |= maps[source["configMapRef"]["name"]]
    secrets = {
        "database-url": "postgresql://asgard:secret@postgres/asgard",
        "redis-url": "redis://:secret@redis:6379/0",
        "s3-access-key": "key",
        "s3-secret-key": "secret",
        "service-key": "s" * 48,
        "session-key": "k" * 48,
        "oidc-client-secret": "secret",
    }
    for each in container.get("env", ()):
        if "value" in each:
            environ[each["name"]] = each["value"]
        elif "secretKeyRef" in each["valueFrom"]:
            if each["valueFrom"]["secretKeyRef"].get("optional") and overlay == "local":
                continue  # its Secret has none
            environ[each["name"]] = secrets[each["valueFrom"]["secretKeyRef"]["key"]]
        else:
            environ[each["name"]] = "pod-name"
    return environ


def settings_of(overlay: str, container: Manifest) -> Settings:
    """The settings that a container runs with; certificates are some file that is here."""
    environ = environ_of(overlay, container)
    return Settings.from_environment(
        {k: __file__ if v.startswith("/tls/") else v for k, v in environ.items()}
    )


def is_ours(container: Manifest) -> bool:
    return bool(re.search(r"(^|/)asgard:", container["image"]))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_understands_the_settings_it_is_given(overlay: str) -> None:
    seen = set()
    for name, pod in pods(overlay):
        for container in containers(pod):
            if not is_ours(container):
                continue
            seen.add(name)
            settings_of(overlay, container)
            # Kubernetes would add variables such as ASGARD_GATEWAY_PORT, which are refused.
            assert pod["enableServiceLinks"] is False, name
    assert {f"Deployment/{name}" for name in SERVED} | {"Job/asgard-migrate"} <= seen


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_serves_others_listens_to_them_and_finds_its_engines(overlay: str) -> None:
    found = dict(pods(overlay))
    run, asset, blob, gateway = (found[f"Deployment/{name}"] for name in SERVED)
    page = settings_of(overlay, gateway["containers"][0])
    finds = {
        "asgard-run": page.run_address,
        "asgard-asset": page.asset_address,
        "asgard-blob": page.blob_address,
    }
    for name, pod in (("asgard-run", run), ("asgard-asset", asset), ("asgard-blob", blob)):
        served = settings_of(overlay, pod["containers"][0])
        assert served.listens_beyond_loopback
        assert_asks(served, is_identity=name == "asgard-asset")
        assert served.database_url
        ports = {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}
        assert ports == {"grpc": served.grpc_port, "metrics": served.metrics_port}
        service = one(overlay, "Service", name)["spec"]
        assert service["clusterIP"] == "None"
        assert service["ports"][0]["port"] == served.grpc_port
        assert finds[name] == f"dns:///{name}:{served.grpc_port}"

    runs, blobs = (settings_of(overlay, pod["containers"][0]) for pod in (run, blob))
    assert runs.redis_url
    assert blobs.redis_url == runs.redis_url
    assets = settings_of(overlay, asset["containers"][0])
    assert (assets.redis_url, assets.database_url) == (runs.redis_url, runs.database_url)
    assert assets.blob_address == page.blob_address
    # One storage: its blobs lie beside its documents.
    assert str(runs.storage) == str(blobs.storage)
    assert str(runs.storage).startswith("s3://")
    assert runs.s3_url
    assert runs.s3_url == blobs.s3_url
    # The files of SimSwarm's jobs lie in the same store, in a bucket that is there.
    assert blobs.minio_endpoint is not None
    assert blobs.minio_endpoint.url(secure=str(blobs.s3_url).startswith("https")) == blobs.s3_url
    assert str(blobs.storage).startswith(f"s3://{blobs.minio_bucket}/")
    # Clients are sent to an address of theirs.
    assert blobs.s3_public_url

    assert_asks(page)
    # One service key for all, and nothing of the engines for the gateway.
    assert len({settings.service_key for settings in (page, runs, blobs, assets)}) == 1
    sources = [each.get("valueFrom", {}) for each in gateway["containers"][0]["env"]]
    given = {each["secretKeyRef"]["key"] for each in sources if "secretKeyRef" in each}
    assert given == {"service-key", "session-key", "oidc-client-secret"}
    check_can_sign_in(page)
    assert assets.run_address == page.run_address
    assert assets.admins
    # IdentityService takes the tokens of those who sign in at the gateway.
    assert (assets.oidc_issuer, assets.oidc_client_id) == (page.oidc_issuer, page.oidc_client_id)
    assert (page.oidc_issuer is None) is (overlay == "local")
    ports = {each["name"]: each["containerPort"] for each in gateway["containers"][0]["ports"]}
    assert ports == {"http": page.port, "metrics": page.metrics_port}


def assert_asks(settings: Settings, *, is_identity: bool = False) -> None:
    """Everybody is asked who they are, and that is known to start at all."""
    assert settings.auth == "required"
    assert not settings.insecure
    assert settings.service_key
    if not is_identity:
        check_can_ask(settings)
        assert settings.identity_address == "dns:///asgard-asset:50052"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_there_is_time_to_drain(overlay: str) -> None:
    for name, pod in pods(overlay):
        container = pod["containers"][0]
        if name.removeprefix("Deployment/") not in SERVED:
            continue
        drain = settings_of(overlay, container).drain_seconds
        before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert before + drain < pod["terminationGracePeriodSeconds"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted_and_hold_no_token(overlay: str) -> None:
    accounts = {
        each["metadata"]["name"]: each
        for each in manifests(overlay)
        if each["kind"] == "ServiceAccount"
    }
    # The cluster refuses what is not, whoever adds it.
    (namespace,) = (each for each in manifests(overlay) if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is False, name
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_contained_and_those_referenced_are_documented(overlay: str) -> None:
    assert not [each for each in manifests(overlay) if each["kind"] == "Secret"]
    guide = (ROOT / "docs" / "operate" / "install.md").read_text()
    for _, pod in pods(overlay):
        for container in containers(pod):
            for each in container.get("env", ()):
                if secret := each.get("valueFrom", {}).get("secretKeyRef"):
                    assert secret["name"] in guide
                    assert secret["key"] in guide


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_denied_by_default_and_has_a_policy_of_its_own(overlay: str) -> None:
    policies = [each["spec"] for each in manifests(overlay) if each["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    selected = [p["podSelector"].get("matchLabels", {}) for p in policies]
    for manifest in manifests(overlay):
        template = manifest.get("spec", {}).get("template")
        if template:
            name = template["metadata"]["labels"]["app.kubernetes.io/name"]
            assert {"app.kubernetes.io/name": name} in selected


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_kept_up_while_nodes_and_releases_change(overlay: str) -> None:
    for name in SERVED:
        deployment = one(overlay, "Deployment", name)["spec"]
        assert "replicas" not in deployment  # the autoscaler's
        assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        spread = deployment["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        assert one(overlay, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
        assert one(overlay, "HorizontalPodAutoscaler", name)["spec"]["minReplicas"] >= 2


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_the_schema_with_the_image_they_run(overlay: str, name: str) -> None:
    pod = dict(pods(overlay))[f"Deployment/{name}"]
    (waiting,) = pod["initContainers"]
    assert waiting["args"][:2] == ["migrate", "--wait"]
    job = dict(pods(overlay))["Job/asgard-migrate"]["containers"][0]
    assert job["args"] == ["migrate"]
    assert {waiting["image"], job["image"]} == {pod["containers"][0]["image"]}
    assert waiting.get("imagePullPolicy") == pod["containers"][0].get("imagePullPolicy")


@pytest.mark.parametrize("name", SERVICES)
def test_probes_ask_grpc_where_the_kubelet_can_and_never_restart_for_an_engine(name: str) -> None:
    local = dict(pods("local"))[f"Deployment/{name}"]["containers"][0]
    asked = {
        "port": settings_of("local", local).grpc_port,
        "service": f"gimle.asgard.v1.{SERVICES[name]}",
    }
    for probe in ("startupProbe", "readinessProbe"):
        assert local[probe]["grpc"] == asked
    # Under mutual TLS the kubelet has no certificate to show.
    production = dict(pods("production"))[f"Deployment/{name}"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe"):
        assert "grpc" not in production[probe]
        assert production[probe]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    for container in (local, production):
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def test_production_speaks_mutual_tls_and_lets_grpc_in_by_path() -> None:
    for name in SERVED:
        container = dict(pods("production"))[f"Deployment/{name}"]["containers"][0]
        environ = environ_of("production", container)
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        for variable in ("CERT", "KEY", "CA"):
            assert str(Path(environ[f"ASGARD_TLS_{variable}_FILE"]).parent) in mounted
    grpc = one("production", "Ingress", "asgard-grpc")
    notes = grpc["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPCS"
    routes = {
        each["path"]: each["backend"]["service"]["name"]
        for each in grpc["spec"]["rules"][0]["http"]["paths"]
    }
    called = notes["nginx.ingress.kubernetes.io/proxy-ssl-name"]
    for name, service in SERVICES.items():
        assert routes[f"/gimle.asgard.v1.{service}"] == name
        shown = one("production", "Certificate", name)["spec"]["dnsNames"]
        assert {name, called} <= set(shown)
    http = one("production", "Ingress", "asgard-http")["metadata"]["annotations"]
    assert http["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    hosts = environ_of(
        "production", dict(pods("production"))["Deployment/asgard-gateway"]["containers"][0]
    )["ASGARD_ALLOWED_HOSTS"]
    assert one("production", "Ingress", "asgard-http")["spec"]["rules"][0]["host"] == hosts


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_let_each_caller_through_at_both_ends(overlay: str) -> None:
    def policy(name: str) -> Manifest:
        spec: Manifest = one(overlay, "NetworkPolicy", name)["spec"]
        return spec

    def let_out(caller: str, port: int) -> bool:
        rules = policy(caller)["egress"]
        return any(each["port"] == port for rule in rules for each in rule["ports"])

    for name in SERVICES:
        port = one(overlay, "Service", name)["spec"]["ports"][0]["port"]
        grpc = next(rule for rule in policy(name)["ingress"] if {"port": "grpc"} in rule["ports"])
        allowed = [each.get("podSelector", {}).get("matchLabels") for each in grpc["from"]]
        assert {"app.kubernetes.io/name": "asgard-gateway"} in allowed
        assert {"asgard/client": "true"} in allowed
        assert let_out("asgard-gateway", port)
        assert let_out("asgard-client", port)
        # RunService asks BlobService for grants.
        assert name != "asgard-blob" or let_out("asgard-run", port)
        # And AssetService asks it for the bytes of assets.
        assert name != "asgard-blob" or let_out("asgard-asset", port)
        assert let_out(name, 5432)
        assert let_out(name, 443)
    assert let_out("asgard-client", 443)  # blobs go to the store itself
    for name in SERVICES:
        port = one(overlay, "Service", name)["spec"]["ports"][0]["port"]
        # And everybody asks it who calls; it tells RunService of the runs of variations.
        assert name != "asgard-asset" or (
            let_out("asgard-run", port) and let_out("asgard-blob", port)
        )
        assert name != "asgard-run" or let_out("asgard-asset", port)
    # It signs people in at the provider, where there is one.
    assert let_out("asgard-gateway", 443) is (overlay == "production")
    assert let_out("asgard-blob", 6379)
    assert not let_out("asgard-gateway", 6379)


def test_the_local_secrets_are_random_and_are_what_the_pods_reference(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncase "$*" in *apply*) cat >> "$SENT";; *get*) exit 1;; esac\n')
    kubectl.chmod(0o755)
    script = kubernetes.MANIFESTS / "overlays" / "local" / "secrets.sh"
    made = []
    for name in ("one", "two"):
        environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SENT": str(tmp_path / name)}
        subprocess.run([script], env=environ, check=True, capture_output=True)
        documents = yaml.safe_load_all((tmp_path / name).read_text())
        made.append({each["metadata"]["name"]: each["stringData"] for each in documents})
    one_time, another = made
    for secret, values in one_time.items():
        assert all(another[secret][key] != value for key, value in values.items())
    engines = one_time["asgard-engines"]
    assert engines["postgres-password"] in one_time["asgard-secrets"]["database-url"]
    assert engines["redis-password"] in one_time["asgard-secrets"]["redis-url"]
    for _, pod in pods("local"):
        for container in containers(pod):
            for each in container.get("env", ()):
                reference = each.get("valueFrom", {}).get("secretKeyRef")
                if reference and not reference.get("optional"):
                    assert reference["key"] in one_time[reference["name"]]


def test_a_manifest_that_kubernetes_does_not_take_is_found() -> None:
    wrong = yaml.safe_dump(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "wrong"},
            "spec": {
                "selector": {},
                "template": {"spec": {"containers": [], "hostNetwrok": True}},
            },
        }
    )
    unknown = "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: unknown}\n"
    for version in kubernetes.versions():
        assert "hostNetwrok" in " ".join(kubernetes.misfits(wrong, version))
        assert "Nothing/unknown" in " ".join(kubernetes.misfits(unknown, version))
    assert len(kubernetes.versions()) == 3


def test_a_finding_without_a_reason_and_a_reason_without_a_finding_are_faults() -> None:
    found = [kubernetes.Finding("local", "Deployment/a", "probes", "none")]
    reason = kubernetes.Reason("probes", "none", ("Deployment/*",), (), "it is asked elsewhere, by")
    assert kubernetes.unexplained(found, [reason]) == []
    assert len(kubernetes.unexplained(found, [])) == 1
    assert len(kubernetes.unexplained([], [reason])) == 1
    elsewhere = replace(reason, overlays=("production",))
    assert len(kubernetes.unexplained(found, [elsewhere])) == 3
    other = replace(reason, objects=("Job/*",))
    assert len(kubernetes.unexplained(found, [reason, other])) == 1
    silent = replace(reason, reason="")
    assert len(kubernetes.unexplained(found, [silent])) == 1
