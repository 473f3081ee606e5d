"""Write the schemas of Kubernetes' kinds so that each file stands alone, for kubeconform.

    python .ci/checks/kubernetes_schemas.py WHEEL TARGET [FOLDER_OF_DEFINITIONS ...]

WHEEL is where the package kubernetes-validate lies unpacked: its schemas refer to a file of
definitions by an absolute address, which no offline reader finds. TARGET gets a folder for each of
the newest versions, and `operators`, of the CustomResourceDefinitions in the other folders.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

VERSIONS = 3
"""How many minor versions of Kubernetes are supported at a time."""

_REFERENCE = re.compile(r"^[^#]*#/(?:\$defs|definitions)/(.+)$")


def newest(wheel: Path) -> list[Path]:
    """The folders of strict schemas of the newest minor versions, newest first."""
    folders = (wheel / "kubernetes_validate" / "kubernetes-json-schema").glob("v*-local-strict")
    return sorted(folders, key=_number, reverse=True)[:VERSIONS]


def _number(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.name.split("-")[0].removeprefix("v").split("."))


def standalone(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`schema` with the definitions that it needs, and references into itself only."""
    needed: dict[str, Any] = {}
    waiting: set[str] = set()
    whole = _pointed_inside(schema, waiting)
    while waiting:
        name = waiting.pop()
        found: set[str] = set()
        needed[name] = _pointed_inside(definitions[name], found)
        waiting |= found - needed.keys()
    return {**whole, "definitions": needed}


def _pointed_inside(node: Any, names: set[str]) -> Any:
    """A copy of `node` whose references stay in the document; their names are added to `names`."""
    if isinstance(node, list):
        return [_pointed_inside(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str) and (found := _REFERENCE.match(reference)):
        names.add(found[1])
        return {"$ref": f"#/definitions/{found[1]}"}
    return {key: _pointed_inside(value, names) for key, value in node.items()}


def of_operator(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The schemas of a CustomResourceDefinition by file name; properties not named are faults."""
    group = definition["spec"]["group"].split(".")[0]
    kind = definition["spec"]["names"]["kind"].lower()
    return {
        f"{kind}-{group}-{version['name']}.json": _strict(version["schema"]["openAPIV3Schema"])
        for version in definition["spec"]["versions"]
    }


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    copied = {key: _strict(value) for key, value in node.items()}
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        copied["additionalProperties"] = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    return copied


class Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a lone `=` is a string."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))


def write(schema: dict[str, Any], path: Path) -> None:
    """Write one schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema, separators=(",", ":")))


def main(wheel: Path, target: Path, definitions: list[Path]) -> None:
    """Write them all."""
    for folder in newest(wheel):
        version = folder.name.removesuffix("-local-strict")
        shared = json.loads((folder / "_definitions.json").read_text())
        for path in folder.glob("*.json"):
            schema = json.loads(path.read_text())
            # Those of parts of kinds are of no use to a reader of whole manifests.
            if "x-kubernetes-group-version-kind" in schema:
                write(standalone(schema, shared["$defs"]), target / version / path.name)
    for folder in definitions:
        for path in folder.glob("*.yaml"):
            for document in yaml.load_all(path.read_text(), Loader):
                if document and document["kind"] == "CustomResourceDefinition":
                    for name, schema in of_operator(document).items():
                        write(schema, target / "operators" / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
