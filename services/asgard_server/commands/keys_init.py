"""`asgard keys init`: the first key of a server that asks everybody who they are."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import typer
from gimle.asgard.core.errors import AsgardError

from asgard_server.commands.failing import fail
from asgard_server.settings import SettingError, Settings


def keys_init(
    user: Annotated[
        str, typer.Argument(help="The id of the user, who is made where they are not there")
    ] = "admin",
    storage: Annotated[
        str | None,
        typer.Option("--storage", "-s", help="The folder of a server that has no database"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts")] = False,
) -> None:
    """Make an API key in the database itself, where nobody has one yet to ask a server with.

    Needs what the process of IdentityService has: ASGARD_DATABASE_URL, or its folder. Servers may
    run meanwhile. The user administers identity where ASGARD_ADMINS of that process names them.
    The key is told once; each call makes another one.

    Examples:

    ```
    ASGARD_DATABASE_URL=postgresql://asgard@localhost/asgard asgard keys init admin
    docker compose -f deploy/compose.yaml exec asset asgard keys init admin
    ```
    """
    from asgard_server.logging import configure
    from asgard_server.processes.first_keys import first_key

    try:
        settings = Settings.from_environment(os.environ, storage=storage)
        configure("error", settings.log_format)  # what there is to say, the answer says
        key = asyncio.run(first_key(settings, user))
    except (SettingError, AsgardError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"user": user, "key": key, "admin": user in settings.admins}))
        return
    typer.echo(key)
    typer.echo(f"An API key of {user}; nobody can be told it again.", err=True)
    if user not in settings.admins:
        typer.echo(f"They administer nothing: ASGARD_ADMINS here does not name {user}.", err=True)
