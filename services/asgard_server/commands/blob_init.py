"""`asgard blob init`: what a bucket needs before blobs lie in it."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.commands.failing import fail
from asgard_server.settings import S3Prefix, SettingError, Settings

if TYPE_CHECKING:
    from asgard_server.processes.bucket import Step

WRONG_OPTIONS = 2
UNKNOWN = 3
_ORIGIN = re.compile(r"https?://[^/\s,]+|\*")
_BETWEEN_S = 1.0


def blob_init(
    storage: Annotated[
        str | None, typer.Option("--storage", "-s", help="s3://bucket/prefix")
    ] = None,
    origins: Annotated[
        list[str] | None,
        typer.Option(
            "--origin",
            metavar="ORIGIN",
            help="Where pages come from that use signed URLs, such as https://lab.example.org; "
            "several times for several [default: ASGARD_S3_CORS_ORIGINS]",
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="Wait so long for a store that is starting"
        ),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, say what is missing")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts")] = False,
) -> None:
    """Make the bucket, the rule that ends unfinished uploads, and the CORS rule for pages.

    What is there already stays, others' rules too: do it as often as you like. For what the key
    may not do, the statement is printed that its policy lacks. What a store does not know (MinIO
    has no CORS rules of buckets, versitygw no lifecycle) is said, and is no error. With an origin
    the store is asked as a browser would ask it, at the address that clients use. A dry run asks
    what is there, and so cannot tell what the store would not take.

    Ends with status 0 when all is there that the store knows; 1 when something is refused, or
    with --dry-run missing; 2 for wrong options; 3 when the store cannot be asked.

    Examples:

    ```
    asgard blob init --storage s3://results/asgard --origin https://lab.example.org
    asgard blob init --storage s3://results/asgard --dry-run --json | jq .steps
    ```
    """
    try:
        settings = Settings.from_environment(os.environ, storage=storage)
    except SettingError as error:
        fail(str(error), status=WRONG_OPTIONS)
    if not isinstance(settings.storage, S3Prefix):
        typer.echo(f"{settings.storage} is a folder: it needs no bucket.")
        return
    asked = list(origins or settings.s3_cors_origins)
    for origin in asked:
        if not _ORIGIN.fullmatch(origin):
            mend = "give one like https://lab.example.org"
            fail(f"{origin!r} is not an origin", mend, WRONG_OPTIONS)
    steps = _prepared(settings, settings.storage, asked, wait, dry_run=dry_run)
    done = all(step.outcome in ("there", "made", "not known to this store") for step in steps)
    if as_json:
        answer = {"storage": str(settings.storage), "done": done}
        typer.echo(json.dumps({**answer, "steps": [asdict(step) for step in steps]}, indent=2))
    else:
        for step in steps:
            _say(step)
    if not done:
        raise typer.Exit(1)


def _prepared(
    settings: Settings, storage: S3Prefix, origins: list[str], wait: float, *, dry_run: bool
) -> list[Step]:
    from asgard_server.processes.bucket import prepare
    from asgard_server.processes.s3 import s3_place

    place = s3_place(settings, storage)
    deadline = time.monotonic() + wait
    while True:
        try:
            return prepare(place, origins, settings.s3_public_url, dry_run=dry_run)
        except StorageUnavailableError as error:
            if time.monotonic() >= deadline or _is_final(error):
                typer.echo(f"asgard: {error}", err=True)
                raise typer.Exit(UNKNOWN) from None
        time.sleep(_BETWEEN_S)


def _is_final(error: StorageUnavailableError) -> bool:
    """Whether the store has answered, and will not answer otherwise in a moment."""
    answer = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {})
    return bool(400 <= answer.get("HTTPStatusCode", 0) < 500)


def _say(step: Step) -> None:
    typer.echo(f"{step.name}: {step.outcome}")
    if step.problem:
        typer.echo(f"  {step.problem}")
    if step.mend:
        typer.echo(f"  {step.mend}")
    if step.statement:
        text = json.dumps(step.statement, indent=2)
        typer.echo("\n".join(f"    {line}" for line in text.splitlines()))
