"""`asgard outbox`: what other services have refused for good."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import typer
from gimle.asgard.cli.chronicling import say_table
from gimle.asgard.core.errors import AsgardError

from asgard_server.commands.failing import fail
from asgard_server.settings import SettingError, Settings


def outbox(
    storage: Annotated[
        str | None, typer.Option("--storage", "-s", help="A folder [default: ./storage]")
    ] = None,
    retry: Annotated[
        list[int] | None,
        typer.Option("--retry", metavar="NUMBER", help="Deliver this one again; several times"),
    ] = None,
    retry_all: Annotated[
        bool, typer.Option("--retry-all", help="Deliver all of them again")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts")] = False,
) -> None:
    """Show what other services have refused for good, and tell it to them again.

    What AssetService has to tell RunService and BlobService is tried until it is taken. What is
    refused for a reason that waiting does not change is set aside: it stays here with the answer.
    Mend what the answer says, then --retry. It is delivered by the services, within a second or so.

    Examples:

    ```
    asgard outbox --storage ./storage
    export ASGARD_DATABASE_URL=postgresql://asgard@db/asgard
    asgard outbox --json
    asgard outbox --retry 4711
    ```
    """
    from asgard_server.logging import configure
    from asgard_server.processes import set_aside

    try:
        settings = Settings.from_environment(os.environ, storage=storage)
        configure("error", settings.log_format)  # what there is to say, the answer says
        if retry or retry_all:
            count = asyncio.run(set_aside.retry(settings, [] if retry_all else list(retry or ())))
            if retry and not retry_all and count < len(set(retry)):
                fail(f"{len(set(retry)) - count} of these are not set aside", "asgard outbox")
            typer.echo(
                json.dumps({"retried": count}) if as_json else f"{count} are delivered again"
            )
            return
        found = asyncio.run(set_aside.set_aside(settings))
    except (AsgardError, SettingError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps([each._asdict() for each in found], default=_text, indent=2))
        return
    rows = [
        (str(each.number), each.kind, each.key, _text(each.aside_at), each.problem)
        for each in found
    ]
    say_table(("number", "kind", "key", "set aside", "answer"), rows, "nothing is set aside")


def _text(value: object) -> str:
    said: str = value.isoformat(timespec="seconds").replace("+00:00", "Z")  # type: ignore[attr-defined]  # a time
    return said
