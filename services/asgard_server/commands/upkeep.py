"""`asgard config`, `asgard migrate`, `asgard reindex`: what operators do beside serving."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import typer
from gimle.asgard.core.errors import AsgardError

from asgard_server.commands.failing import fail
from asgard_server.settings import SettingError, Settings

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts")]
Storage = Annotated[
    str | None,
    typer.Option("--storage", "-s", help="A folder, or s3://bucket/prefix [default: ./storage]"),
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help="Change nothing, but wait so long for somebody else to migrate",
    ),
]


def config(as_json: AsJson = False) -> None:
    """Show the settings that hold here, and where each came from; secrets stay hidden.

    Examples:

    ```
    asgard config
    ASGARD_PORT=9000 asgard config --json | jq .ASGARD_PORT
    ```
    """
    from asgard_server.settings.reading import read
    from asgard_server.settings.showing import shown

    try:
        lines = shown(read(os.environ))
    except SettingError as error:
        fail(str(error))
    if as_json:
        answer = {each.variable: {"value": each.value, "source": each.source} for each in lines}
        typer.echo(json.dumps(answer, indent=2))
        return
    width = max(len(each.variable) for each in lines)
    for each in lines:
        value = each.usually if each.value is None else each.value
        said = str(value).lower() if isinstance(value, bool) else str(value)
        origin = each.source if each.source != each.variable else "set"
        typer.echo(f"{each.variable:<{width}}  {said or each.usually or 'unset'}  ({origin})")


def migrate(as_json: AsJson = False, wait: Wait = None) -> None:
    """Bring the schema of ASGARD_DATABASE_URL up to this release; services may go on meanwhile.

    Doing it again changes nothing; several at once wait for each other.

    Examples:

    ```
    ASGARD_DATABASE_URL=postgresql://asgard@localhost/asgard asgard migrate
    ASGARD_DATABASE_URL=postgresql://asgard@localhost/asgard asgard migrate --wait 600
    ```
    """
    settings = _settings()
    if settings.database_url is None:
        fail(
            "there is no database to migrate: ASGARD_DATABASE_URL is not set",
            "set it to postgresql://user:password@host/database; an index in SQLite needs no"
            " migration",
        )
    from asgard_server.logging import configure
    from asgard_server.store import migrate as schema
    from asgard_server.store.postgres_link import place_of

    configure("error", settings.log_format)  # what there is to say, the answer says
    place = place_of(settings.database_url)
    try:
        if wait is not None:
            asyncio.run(schema.wait(settings.database_url, wait))
            done = schema.Migrated((), None)
        else:
            done = asyncio.run(schema.migrate(settings.database_url))
    except AsgardError as error:
        fail(str(error))
    if as_json:
        answer = {"applied": list(done.applied), "search_problem": done.search_problem}
        typer.echo(json.dumps(answer))
        return
    for name in done.applied:
        typer.echo(f"applied {name}")
    state = "is now" if done.applied else "was already"
    typer.echo(f"The schema of {place} {state} that of this release.")
    if done.search_problem:
        typer.echo(f"  {done.search_problem}", err=True)


def reindex(
    storage: Storage = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Forget the index and make it anew from all documents")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the index of a storage agree with all its documents, while services run.

    Every document is compared with the index, and what differs is read again. Services notice,
    and so do those who watch.

    Examples:

    ```
    asgard reindex --storage ./storage
    ASGARD_DATABASE_URL=postgresql://asgard@localhost/asgard asgard reindex --rebuild
    ```
    """
    settings = _settings(storage=storage)
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from asgard_server.logging import configure
    from asgard_server.processes.reindexing import reindex as make

    configure(settings.log_level, settings.log_format)
    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed:,.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("opening", total=None)

        def tell(step: str, count: int) -> None:
            progress.update(task, description=step, completed=count)

        try:
            done = asyncio.run(make(settings, tell, rebuild=rebuild))
        except (AsgardError, SettingError) as error:
            progress.stop()
            fail(str(error))
    if as_json:
        typer.echo(
            json.dumps({"documents": done.documents, "changed": done.changed, "built": done.built})
        )
        return
    typer.echo(f"{done.documents:,} documents in {done.place}")
    if done.built:
        typer.echo("The index was made anew.")
    typer.echo(
        f"{done.changed:,} differed from the index, and were read again."
        if done.changed
        else "The index agrees with all of them."
    )


def _settings(**given: str | None) -> Settings:
    try:
        return Settings.from_environment(os.environ, **given)
    except SettingError as error:
        fail(str(error))
