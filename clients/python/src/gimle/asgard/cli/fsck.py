"""`asgard fsck`: what a storage holds that nobody needs, and what is missing.

asgard-server brings a command of the same name in the place of this one: it looks at blobs, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.speaking import FAILED, console, error_console, existing
from gimle.asgard.core.errors import StorageReadOnlyError, StorageUnavailableError

if TYPE_CHECKING:
    from gimle.asgard.core.folder import Report

Tell = Callable[[str, int], None]

UNKNOWN = 3
"""The exit status when nothing can be said: the storage, or its database, cannot be asked."""

Storage = Annotated[
    str,
    typer.Option(
        "--storage", "-s", envvar="ASGARD_STORAGE", help="A folder, or s3://bucket/prefix."
    ),
]
Repair = Annotated[
    bool,
    typer.Option("--repair", help="Remove leftovers older than a day, finish deletions."),
]
Deep = Annotated[
    bool, typer.Option("--deep", help="Read all bytes as well, and verify their digests.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]


def fsck(
    storage: Storage = "storage",
    repair: Repair = False,
    deep: Deep = False,
    as_json: AsJson = False,
) -> None:
    """Check a storage: unreadable documents, missing arrays, leftovers.

    Nothing is changed without --repair, and nothing younger than a day is removed: it may be on
    its way. Programs may go on writing meanwhile.

    Ends with status 0 when all is well, or is now; 1 when something is left that is not, or there
    is no storage; 2 for wrong options; 3 when the storage cannot be asked.

    Examples:

    ```
    asgard fsck
    asgard fsck --storage ./my-results --repair
    asgard fsck --storage s3://results/team-a --deep --json | jq
    ```
    """
    with checking(storage) as tell:
        report = examined(storage, tell, repair=repair, deep=deep)
    say(Said(storage, report), repair=repair, as_json=as_json)


def examined(storage: str, tell: Tell, *, repair: bool, deep: bool) -> Report:
    """Examine the documents of a storage. Raises StorageUnavailableError."""
    from gimle.asgard.core.folder import Folder

    if "://" not in storage:
        return Folder(existing(storage), create=False).fsck(repair=repair)
    from gimle.asgard.core.s3.fsck import examine
    from gimle.asgard.core.s3.place import parse_url

    return examine(parse_url(storage), repair=repair, deep=deep, tell=tell)


@contextmanager
def checking(storage: str) -> Iterator[Tell]:
    """Show on standard error how far it is; end with UNKNOWN when nobody answers."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    shown = error_console()
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed:,.0f}"),
        TimeElapsedColumn(),
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
    )
    try:
        with progress:
            task = progress.add_task(f"checking {storage}", total=None)
            yield lambda step, count: progress.update(task, description=step, completed=count)
    except (StorageUnavailableError, StorageReadOnlyError) as error:
        shown.print(f"asgard: {error}", markup=False)
        raise typer.Exit(UNKNOWN) from None


@dataclass(frozen=True)
class Said:
    """What an examination says: of documents, and what else was `counted`, with a line of it."""

    storage: str
    report: Report
    counted: Mapping[str, Any] = field(default_factory=dict)
    line: str = ""


def say(said: Said, *, repair: bool, as_json: bool) -> None:
    """Say it, and end with FAILED when not all is well."""
    report = said.report
    left = [one for one in report.findings if not one.repaired]
    mended = [one for one in report.findings if one.repaired]
    if as_json:
        answer = {
            "runs": report.runs,
            "results": report.results,
            "arrays": report.arrays,
            **said.counted,
            "clean": report.clean,
            "left": {"count": len(left), "bytes": sum(one.size_bytes for one in left)},
            "repaired": {"count": len(mended), "bytes": sum(one.size_bytes for one in mended)},
            "findings": [
                {
                    "kind": one.kind,
                    "path": one.path,
                    "problem": one.problem,
                    "repaired": one.repaired,
                    "size_bytes": one.size_bytes,
                }
                for one in report.findings
            ],
        }
        console().print_json(json.dumps(answer))
    else:
        _say_lines(said, repair=repair)
    if not report.clean:
        raise typer.Exit(FAILED)


def _say_lines(said: Said, *, repair: bool) -> None:
    out, report = console(), said.report
    for one in report.findings:
        size = f" ({one.size_bytes:,} bytes)" if one.size_bytes else ""
        mended = "  (mended)" if one.repaired else ""
        out.print(f"{one.kind:<19} {one.path}: {one.problem}{size}{mended}", markup=False)
    out.print(
        f"{said.storage}: {report.runs} run(s), {report.results} result(s), "
        f"{report.arrays} array(s){said.line}; "
        + ("all is well" if report.clean else "not all is well"),
        markup=False,
    )
    if not report.clean and not repair:
        out.print("`asgard fsck --repair` mends what is safe to mend.", markup=False)
