"""`asgard fsck`: what a folder holds that nobody needs, and what is missing."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from gimle.asgard.cli.speaking import FAILED, console, error_console, existing, fail


def fsck(
    storage: Annotated[
        str,
        typer.Option("--storage", "-s", envvar="ASGARD_STORAGE", help="The folder to check."),
    ] = "storage",
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove leftovers older than a day, finish deletions."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")] = False,
) -> None:
    """Check a storage folder: unreadable documents, missing arrays, leftovers.

    Nothing is changed without --repair. Ends with status 1 when something is wrong.

    Examples:

    ```
    asgard fsck
    asgard fsck --storage ./my-results --repair
    asgard fsck --json | jq
    ```
    """
    from gimle.asgard.core.folder import Folder

    if "://" in storage:
        fail(f"{storage} is not a folder", "fsck examines folders; give the path of one")
    folder = Folder(existing(storage), create=False)
    with error_console().status(f"Checking {storage}"):
        report = folder.fsck(repair=repair)
    if as_json:
        findings = [
            {
                "kind": one.kind,
                "path": one.path,
                "problem": one.problem,
                "repaired": one.repaired,
            }
            for one in report.findings
        ]
        answer = {
            "runs": report.runs,
            "results": report.results,
            "arrays": report.arrays,
            "clean": report.clean,
            "findings": findings,
        }
        console().print_json(json.dumps(answer))
    else:
        out = console()
        for one in report.findings:
            mended = "  (mended)" if one.repaired else ""
            out.print(f"{one.kind:<19} {one.path}: {one.problem}{mended}", markup=False)
        out.print(
            f"{storage}: {report.runs} run(s), {report.results} result(s), "
            f"{report.arrays} array(s); " + ("all is well" if report.clean else "not all is well"),
            markup=False,
        )
        if not report.clean and not repair:
            out.print("`asgard fsck --repair` mends what is safe to mend.", markup=False)
    if not report.clean:
        raise typer.Exit(FAILED)
