"""Who may import whom: the allow-list, and how a source file is held against it.

    python .ci/checks/imports.py

Each row names a room (a module or package of ours) and the rooms it may import. The longest
matching row counts. A room that has no row is an error: whoever makes one decides where it stands.
CONTRIBUTING.md says the same in words.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SDK = "gimle.asgard"
SERVER = "asgard_server"
ROOTS = {"gimle", "simswarm", "saas", "methodic", SERVER}
FORMAT = {f"{SDK}.core", f"{SDK}.v1"}
SCIENCE = {f"{SDK}.{room}" for room in ("equation", "circuit", "runtime", "examples")}
EVERYTHING = {SDK, SERVER}
PROCESS = {f"{SDK}.core"} | {
    f"{SERVER}.{room}"
    for room in (
        *("processes", "settings", "logging", "rpc", "auth", "feed", "store", "run.store"),
        *("run.ledger", "run.upkeep", "run.grants"),
    )
}

MAY_IMPORT: dict[str, set[str]] = {
    # The SDK: cli > monitor, models, simswarm > client > transfer > core > v1, the numerics of the
    # examples beside monitor.
    SDK: {f"{SDK}.core", f"{SDK}.monitor"},
    f"{SDK}.v1": {f"{SDK}.v1"},
    f"{SDK}.core": {f"{SDK}.core", f"{SDK}.v1"},
    f"{SDK}.transfer": {f"{SDK}.transfer", f"{SDK}.core"},
    f"{SDK}.client": {f"{SDK}.client", f"{SDK}.transfer", f"{SDK}.core", f"{SDK}.v1"},
    f"{SDK}.models": {f"{SDK}.models", f"{SDK}.transfer", f"{SDK}.core"},
    f"{SDK}.monitor": {f"{SDK}.monitor", f"{SDK}.client", f"{SDK}.core", f"{SDK}.v1"},
    f"{SDK}.equation": SCIENCE | {f"{SDK}.core"},
    f"{SDK}.circuit": SCIENCE | {f"{SDK}.core"},
    f"{SDK}.runtime": SCIENCE | {f"{SDK}.core", f"{SDK}.monitor"},
    f"{SDK}.examples": SCIENCE | {f"{SDK}.core", f"{SDK}.monitor"},
    f"{SDK}.cli": {SDK, "simswarm", "methodic"},
    "simswarm": {"simswarm", f"{SDK}.client", f"{SDK}.transfer", f"{SDK}.core", f"{SDK}.v1"},
    "saas": {"saas", "simswarm"},
    "methodic": {"methodic", f"{SDK}.transfer", f"{SDK}.core"},
    # The server: the stored format and the protos of the SDK, nothing else of it.
    SERVER: set(),
    f"{SERVER}.settings": {f"{SDK}.core"},
    f"{SERVER}.logging": {f"{SERVER}.rpc.requests"},
    # Who calls: asked by the plumbing, known to every service.
    f"{SERVER}.auth": FORMAT | {f"{SERVER}.auth"},
    f"{SERVER}.auth.principal": set(),
    f"{SERVER}.auth.lasting": {f"{SDK}.core", f"{SERVER}.auth.principal"},
    f"{SERVER}.auth.callers": {
        f"{SDK}.core",
        f"{SERVER}.auth.principal",
        f"{SERVER}.auth.lasting",
    },
    f"{SERVER}.rpc": FORMAT | {f"{SERVER}.rpc", f"{SERVER}.auth.callers"},
    f"{SERVER}.histograms": set(),
    f"{SERVER}.feed": {f"{SERVER}.feed", f"{SERVER}.histograms"},
    f"{SERVER}.store": FORMAT
    | {
        f"{SERVER}.{room}"
        for room in (
            *("store", "run.store", "run.ledger", "run.upkeep", "run.grants"),
            *("run.rights", "run.naming", "run.lazy", "run.drawing"),
            "feed.feed",
        )
    }
    | {f"{SERVER}.histograms"}
    | {
        f"{SERVER}.blob.{room}"
        for room in ("store", "domain", "settling", "limits", "kept", "parts", "holdings")
    }
    | {f"{SERVER}.sim_data.{room}" for room in ("store", "domain")}
    | {f"{SERVER}.identity.{room}" for room in ("store", "domain")}
    | {f"{SERVER}.auth.principal", f"{SERVER}.outbox.refused"},
    # What the rules of access say, and who did it, are written down where they are kept.
    f"{SERVER}.store.sql": {f"{SDK}.core"}
    | {
        f"{SERVER}.{room}"
        for room in (
            *("store", "access", "auth.principal", "rpc.requests", "outbox.delivery"),
            *("experiment.store", "experiment.link_store", "experiment.access_store"),
            *("experiment.domain", "experiment.leases"),
            *("asset.store", "asset.domain", "asset.wishes", "blob.holdings"),
            *("asset.access_store", "asset.words"),
            *("identity.store", "identity.domain"),
        )
    },
    f"{SERVER}.store.rpc_blobs": FORMAT
    | {f"{SERVER}.{room}" for room in ("asset.store", "asset.domain", "asset.wishes")}
    | {f"{SERVER}.rpc.requests", f"{SERVER}.store.rpc_refusals", f"{SERVER}.auth.principal"},
    f"{SERVER}.access": {f"{SDK}.core", f"{SERVER}.access", f"{SERVER}.auth.principal"},
    f"{SERVER}.gateway": FORMAT
    | {
        f"{SERVER}.{room}"
        for room in ("gateway", "rpc", "auth.principal", "auth.lasting", "auth.code_flow")
    }
    | {f"{SERVER}.watching.readers"},
    f"{SERVER}.watching.readers": set(),
    f"{SERVER}.watching": FORMAT
    | {f"{SERVER}.{room}" for room in ("watching", "rpc.metrics", "feed.feed")},
    f"{SERVER}.run": FORMAT
    | {f"{SERVER}.{room}" for room in ("run", "rpc", "watching", "feed.feed", "auth.principal")},
    f"{SERVER}.blob": FORMAT | {f"{SERVER}.blob", f"{SERVER}.rpc", f"{SERVER}.auth"},
    f"{SERVER}.blob.whose": {
        *(f"{SDK}.core", f"{SERVER}.blob.domain", f"{SERVER}.auth.principal"),
    },
    f"{SERVER}.blob.domain": {
        f"{SDK}.core",
        *(f"{SERVER}.blob.{room}" for room in ("limits", "names", "parts")),
    },
    f"{SERVER}.blob.limits": {f"{SDK}.core", f"{SERVER}.blob.parts"},
    f"{SERVER}.blob.kept": {f"{SDK}.core", f"{SERVER}.blob.domain", f"{SERVER}.blob.limits"},
    f"{SERVER}.blob.settling": {f"{SDK}.core", f"{SERVER}.blob.domain"},
    f"{SERVER}.blob.store": {f"{SDK}.core", f"{SERVER}.blob.domain", f"{SERVER}.blob.parts"},
    f"{SERVER}.blob.holdings": {f"{SERVER}.blob.domain"},
    f"{SERVER}.blob.fates": {f"{SERVER}.blob.{room}" for room in ("domain", "holdings")},
    f"{SERVER}.blob.folder_http": {
        f"{SDK}.core",
        f"{SERVER}.store.folder_bytes",
        f"{SERVER}.store.folder_incoming",
        f"{SERVER}.store.folder_grants",
    },
    f"{SERVER}.asset": FORMAT
    | {f"{SERVER}.{room}" for room in ("asset", "access", "auth", "rpc", "watching", "feed.feed")},
    f"{SERVER}.asset.names": {f"{SDK}.core"},
    f"{SERVER}.asset.domain": {f"{SDK}.core", f"{SERVER}.access.domain"},
    f"{SERVER}.asset.wishes": {f"{SDK}.core", f"{SERVER}.asset.names", f"{SERVER}.asset.domain"},
    f"{SERVER}.asset.store": {
        f"{SERVER}.{room}"
        for room in ("asset.domain", "asset.wishes", "access.domain", "auth.principal")
    },
    f"{SERVER}.outbox": {f"{SDK}.core", f"{SERVER}.outbox"},
    f"{SERVER}.identity": FORMAT | {f"{SERVER}.{room}" for room in ("identity", "auth", "rpc")},
    f"{SERVER}.identity.domain": {f"{SDK}.core", f"{SERVER}.auth.principal"},
    f"{SERVER}.identity.rules": {
        f"{SDK}.core",
        f"{SERVER}.auth.principal",
        f"{SERVER}.identity.domain",
    },
    f"{SERVER}.identity.store": {f"{SERVER}.identity.domain"},
    f"{SERVER}.experiment": FORMAT
    | {f"{SERVER}.{room}" for room in ("experiment", "access.domain", "auth", "rpc")},
    f"{SERVER}.experiment.domain": {f"{SDK}.core", f"{SERVER}.access.domain"},
    f"{SERVER}.experiment.leases": {f"{SDK}.core"},
    f"{SERVER}.experiment.wishes": {f"{SDK}.core", f"{SERVER}.experiment.domain"},
    f"{SERVER}.experiment.store": {
        *(f"{SERVER}.experiment.{room}" for room in ("domain", "leases")),
        *(f"{SERVER}.experiment.{room}" for room in ("link_store", "access_store")),
        f"{SERVER}.auth.principal",
    },
    f"{SERVER}.experiment.link_store": {
        f"{SERVER}.{room}" for room in ("experiment.domain", "experiment.leases", "auth.principal")
    },
    f"{SERVER}.experiment.access_store": {f"{SERVER}.access.domain", f"{SERVER}.auth.principal"},
    f"{SERVER}.sim_data": FORMAT
    | {f"{SERVER}.{room}" for room in ("sim_data", "rpc", "auth", "watching", "feed.feed")},
    f"{SERVER}.sim_data.domain": {f"{SDK}.core"},
    f"{SERVER}.sim_data.leases": {f"{SDK}.core", f"{SERVER}.sim_data.domain"},
    f"{SERVER}.sim_data.wishes": {f"{SDK}.core", f"{SERVER}.sim_data.domain"},
    f"{SERVER}.sim_data.store": {f"{SDK}.core", f"{SERVER}.sim_data.domain"},
    # What fsck asks of everybody who keeps bytes is asked in one form.
    f"{SERVER}.sim_data.owning": {f"{SERVER}.sim_data", f"{SERVER}.blob.holdings"},
    # The report task reads and writes as a program beside the store does.
    f"{SERVER}.sim_data.report_task": {f"{SDK}.core", f"{SERVER}.sim_data", "simswarm"},
    f"{SERVER}.run.store": {f"{SDK}.core", f"{SERVER}.run.domain"},
    f"{SERVER}.run.ledger": {f"{SERVER}.run.store"},
    f"{SERVER}.run.upkeep": {f"{SERVER}.run.store"},
    f"{SERVER}.run.grants": {f"{SDK}.core"},
    f"{SERVER}.run.domain": {
        *(f"{SDK}.core", f"{SERVER}.run.limits", f"{SERVER}.run.repeats"),
    },
    f"{SERVER}.run.limits": {f"{SDK}.core"},
    f"{SERVER}.run.repeats": {f"{SDK}.core", f"{SERVER}.run.limits"},
    f"{SERVER}.run.pages": {
        *(f"{SDK}.core", f"{SERVER}.rpc.pages"),
        *(f"{SERVER}.run.limits", f"{SERVER}.run.repeats"),
    },
    f"{SERVER}.run.rights": {f"{SDK}.core", f"{SERVER}.access.domain", f"{SERVER}.auth.principal"},
    **{
        f"{SERVER}.run.{room}": FORMAT
        | {f"{SERVER}.run", f"{SERVER}.rpc", f"{SERVER}.auth.callers"}
        for room in ("handlers", "result_handlers", "grant_handlers")
    },
    f"{SERVER}.run.lazy": set(),
    # Who waits for a store lets others draw meanwhile.
    f"{SERVER}.run.drawing": set(),
    f"{SERVER}.run.render": {f"{SDK}.core", f"{SERVER}.run.render", f"{SERVER}.run.lazy"},
    # Processes: what they share, each service put together, and the roots, where things meet.
    f"{SERVER}.processes": PROCESS,
    f"{SERVER}.processes.page_server": set(),
    f"{SERVER}.processes.health": PROCESS | {f"{SERVER}.run.scan"},
    f"{SERVER}.processes.reindexing": PROCESS | {f"{SERVER}.run.observe", f"{SERVER}.run.scan"},
    f"{SERVER}.processes.run_service": PROCESS | FORMAT | {f"{SERVER}.run"},
    f"{SERVER}.processes.blob_service": PROCESS | FORMAT | {f"{SERVER}.blob"},
    f"{SERVER}.processes.sim_data_service": PROCESS | FORMAT | {f"{SERVER}.sim_data"},
    f"{SERVER}.processes.set_aside": PROCESS,
    f"{SERVER}.processes.asset_service": PROCESS | FORMAT | {f"{SERVER}.asset", f"{SERVER}.outbox"},
    f"{SERVER}.processes.identity_service": PROCESS | FORMAT | {f"{SERVER}.identity"},
    f"{SERVER}.processes.first_keys": PROCESS | {f"{SERVER}.identity"},
    f"{SERVER}.processes.experiment_service": PROCESS
    | FORMAT
    | {f"{SERVER}.experiment", f"{SERVER}.outbox"},
    f"{SERVER}.processes.examining": PROCESS | {f"{SERVER}.blob", f"{SERVER}.sim_data.owning"},
    f"{SERVER}.processes.gateway": {
        f"{SERVER}.{room}" for room in ("processes", "settings", "rpc", "auth", "gateway")
    },
    f"{SERVER}.run.__main__": {f"{SERVER}.{room}" for room in ("processes", "settings", "rpc")},
    f"{SERVER}.asset.__main__": {f"{SERVER}.{room}" for room in ("processes", "settings", "rpc")},
    f"{SERVER}.blob.__main__": {f"{SERVER}.{room}" for room in ("processes", "settings", "rpc")},
    f"{SERVER}.gateway.__main__": {f"{SERVER}.{room}" for room in ("processes", "settings", "rpc")},
    f"{SERVER}.all_in_one": EVERYTHING,
    f"{SERVER}.commands": EVERYTHING,
}

TECHNOLOGY = {"grpc", "starlette", "uvicorn", "sqlite3", "watchfiles", "google", "httpx", "typer"}
PURE = (
    *(f"{SERVER}.run.{room}" for room in ("domain", "limits", "repeats", "pages", "naming")),
    *(f"{SERVER}.run.{room}" for room in ("store", "ledger", "upkeep", "rights", "grants")),
    f"{SERVER}.feed.feed",
    *(f"{SERVER}.blob.{room}" for room in ("domain", "limits", "kept", "store")),
    *(f"{SERVER}.blob.{room}" for room in ("holdings", "fates")),
    *(f"{SERVER}.sim_data.{room}" for room in ("domain", "leases", "wishes", "store")),
    *(f"{SERVER}.auth.{room}" for room in ("principal", "callers")),
    f"{SERVER}.access.domain",
    *(f"{SERVER}.asset.{room}" for room in ("names", "domain", "wishes", "store")),
    *(f"{SERVER}.identity.{room}" for room in ("domain", "rules", "store")),
    *(f"{SERVER}.experiment.{room}" for room in ("domain", "leases", "wishes")),
    *(f"{SERVER}.experiment.{room}" for room in ("store", "link_store", "access_store")),
)
"""Rooms that know no technology: their words are those of the domain."""


def row_of(module: str) -> str | None:
    """The longest row that covers `module`, or None."""
    rows = [row for row in MAY_IMPORT if covers(row, module)]
    return max(rows, key=len, default=None)


def covers(room: str, module: str) -> bool:
    """Whether `module` is `room` or inside it; a distribution's root covers itself only."""
    return module == room or (module.startswith(f"{room}.") and room not in {SDK, SERVER})


def forbidden(module: str, source: str, modules: set[str]) -> Iterator[str]:
    """What `source`, the text of `module`, imports and may not.

    Args:
        module: the dotted name of the module.
        source: its text.
        modules: every module of ours, to tell `from package import module` from a name.
    """
    row = row_of(module)
    if row is None:
        yield f"{module} has no row in the allow-list"
        return
    allowed = MAY_IMPORT[row]
    for name in imported(module, source, modules):
        ours = name.split(".")[0] in ROOTS
        inside = any(name == room or name.startswith(f"{room}.") for room in allowed | {row})
        if ours and not inside:
            yield f"{module} imports {name}"
        if module in PURE and name.split(".")[0] in TECHNOLOGY:
            yield f"{module} imports {name}, a technology"


def imported(module: str, source: str, modules: set[str]) -> Iterator[str]:
    """The dotted names of all modules that `source` imports, wherever in the file."""
    package = module.split(".") if f"{module}.__init__" in modules else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in modules or f"{inner}.__init__" in modules else base


def modules_below(*roots: Path) -> dict[str, Path]:
    """Every module below the import roots; a package is there as `name` and `name.__init__`."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[0] not in ROOTS or "_pb2" in parts[-1]:
                continue
            if parts[-1] == "__init__":
                found[".".join(parts[:-1])] = path
            found[".".join(parts)] = path
    return found


def faults(root: Path) -> list[str]:
    """Every import below `root` that the allow-list does not know, and every row without a room."""
    modules = modules_below(root / "clients/python/src", root / "services")
    found = [
        f"the allow-list has a row for {row}, which is not there"
        for row in MAY_IMPORT
        if row not in modules
    ]
    for module, path in modules.items():
        if not module.endswith(".__init__"):
            found.extend(forbidden(module, path.read_text(), set(modules)))
    return found


def main() -> int:
    """Print the faults; answer the exit status."""
    found = faults(Path(__file__).resolve().parent.parent.parent)
    for fault in found:
        print(f"{fault}; the layers are in CONTRIBUTING.md and .ci/checks/imports.py")
    print(f"imports: {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
