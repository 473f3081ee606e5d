"""Are the manifests of deploy/kubernetes what Kubernetes takes, and as careful as they claim?

    python .ci/checks/kubernetes.py [--write]

Builds each overlay and example with kustomize, holds it against the schemas of the newest versions
of Kubernetes (kubeconform, strictly) and lets kube-score judge it. What kube-score finds must stand
in deploy/kubernetes/kube-score.yaml with its reason, and what stands there must still be found.
The PrometheusRule must say what deploy/prometheus/asgard.rules.yaml does; `--write` writes it.
`.ci/setup-kubernetes` has brought the programs and the schemas: nothing is fetched here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFESTS = ROOT / "deploy" / "kubernetes"
REASONS = MANIFESTS / "kube-score.yaml"
RULES = ROOT / "deploy" / "prometheus" / "asgard.rules.yaml"
RULES_OF_OPERATOR = MANIFESTS / "components" / "monitoring" / "prometheus-rule.yaml"
CACHE = ROOT / ".cache" / "kubernetes"
_SCHEMA = "{{.ResourceKind}}{{.KindSuffix}}.json"
_HEAD = "# Written by `python .ci/checks/kubernetes.py --write` out of deploy/prometheus.\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something kube-score would do otherwise, in the manifests of one overlay."""

    overlay: str
    object: str
    check: str
    comment: str

    def __str__(self) -> str:
        return f"{self.overlay}: {self.object}: {self.comment} ({self.check})"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why findings of a check are meant to be so. `overlays` empty stands for all."""

    check: str
    comment: str
    objects: tuple[str, ...]
    overlays: tuple[str, ...]
    reason: str

    def explains(self, finding: Finding, pattern: str) -> bool:
        """Whether this is about `finding`, as far as the objects like `pattern` go."""
        return (
            (self.check, self.comment) == (finding.check, finding.comment)
            and (not self.overlays or finding.overlay in self.overlays)
            and fnmatchcase(finding.object, pattern)
        )


def overlays() -> list[Path]:
    """The folders of all overlays."""
    return sorted(path.parent for path in MANIFESTS.glob("overlays/*/kustomization.yaml"))


def examples() -> list[Path]:
    """The folders of what is there to be copied: beside Asgard, not of it."""
    return sorted(path.parent for path in MANIFESTS.glob("examples/*/kustomization.yaml"))


def built(overlay: Path) -> str:
    """The manifests of an overlay. Raises `CalledProcessError`, with kustomize's own words."""
    return run([program("kustomize"), "build", str(overlay)])


def versions() -> list[str]:
    """The versions of Kubernetes whose schemas are here."""
    return sorted(path.name for path in (CACHE / "schemas").glob("v*"))


def misfits(manifests: str, version: str) -> Iterator[str]:
    """What the schemas of `version` do not allow, or do not know."""
    schemas = [CACHE / "schemas" / name / _SCHEMA for name in (version, "operators")]
    places = [word for path in schemas for word in ("-schema-location", str(path))]
    answer = run(
        [program("kubeconform"), "-strict", "-output", "json", *places, "-"],
        text=manifests,
        may_fail=True,
    )
    for resource in json.loads(answer)["resources"] or []:
        yield f"{version}: {resource['kind']}/{resource['name']}: {resource['msg']}"


def findings(overlay: str, manifests: str, version: str) -> Iterator[Finding]:
    """What kube-score finds in an overlay's manifests."""
    short = ".".join(version.split(".")[:2])
    answer = run(
        [program("kube-score"), "score", "-", "--kubernetes-version", short, "-o", "json"],
        text=manifests,
        may_fail=True,
    )
    seen: set[Finding] = set()
    for item in json.loads(answer):
        name = f"{item['type_meta']['kind']}/{item['object_meta']['name']}"
        for check in item["checks"] or []:
            if check["skipped"] or check["grade"] >= 10:
                continue
            for comment in check["comments"] or [{"summary": check["check"]["name"]}]:
                seen.add(Finding(overlay, name, check["check"]["id"], comment["summary"]))
    yield from sorted(seen, key=str)


def reasons() -> list[Reason]:
    """What kube-score.yaml says."""
    return [
        Reason(
            entry["check"],
            entry["comment"],
            tuple(entry["objects"]),
            tuple(entry.get("overlays", ())),
            entry["reason"],
        )
        for entry in yaml.safe_load(REASONS.read_text())
    ]


def unexplained(found: list[Finding], given: list[Reason]) -> list[str]:
    """Findings without a reason, reasons without a finding, and reasons that say nothing."""
    faults = [
        f"{finding}; mend it, or give the reason in {REASONS.name}"
        for finding in found
        if not any(r.explains(finding, pattern) for r in given for pattern in r.objects)
    ]
    for reason in given:
        name = f"{REASONS.name}: {reason.check} ({reason.comment})"
        if len(reason.reason.split()) < 4:
            faults.append(f"{name} gives no reason")
        faults += [
            f"{name} explains {pattern}, where nothing is found any more; remove it"
            for pattern in reason.objects
            if not any(reason.explains(finding, pattern) for finding in found)
        ]
        faults += [
            f"{name} explains overlay {overlay}, where nothing is found any more; remove it"
            for overlay in reason.overlays
            if not any(
                finding.overlay == overlay and reason.explains(finding, pattern)
                for finding in found
                for pattern in reason.objects
            )
        ]
    return faults


def operator_rules() -> str:
    """The PrometheusRule that says what the plain file of rules does."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "asgard"},
        "spec": yaml.safe_load(RULES.read_text()),
    }
    return _HEAD + yaml.safe_dump(rule, sort_keys=False, width=100)


def faults() -> list[str]:
    """Everything that is wrong with the manifests."""
    if not (CACHE / "schemas" / "operators").exists():
        return ["the programs and schemas are missing; run .ci/setup-kubernetes"]
    wrong: list[str] = []
    found: list[Finding] = []
    for overlay in [*overlays(), *examples()]:
        manifests = built(overlay)
        for version in versions():
            wrong += [f"{overlay.name}: {misfit}" for misfit in misfits(manifests, version)]
        found += findings(overlay.name, manifests, versions()[-1])
    wrong += unexplained(found, reasons())
    if RULES_OF_OPERATOR.read_text() != operator_rules():
        wrong.append(f"{RULES_OF_OPERATOR.name} is not what {RULES.name} says; write it: --write")
    return wrong


def program(name: str) -> str:
    """Where one of the programs is."""
    return str(CACHE / "bin" / name)


def run(command: list[str], *, text: str = "", may_fail: bool = False) -> str:
    """What a command prints. Raises `CalledProcessError` when it fails and may not."""
    answer = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603 - constant commands
    if answer.returncode != 0 and not (may_fail and answer.stdout):
        print(answer.stderr, file=sys.stderr)
        answer.check_returncode()
    return answer.stdout


def main(arguments: list[str]) -> int:
    """Print the faults; answer the exit status."""
    if arguments == ["--write"]:
        RULES_OF_OPERATOR.write_text(operator_rules())
        return 0
    wrong = faults()
    for fault in wrong:
        print(fault)
    names = ", ".join(versions())
    print(f"kubernetes: {len(wrong) or 'no'} fault{'' if len(wrong) == 1 else 's'} ({names})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
