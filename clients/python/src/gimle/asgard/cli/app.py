"""The commands of `asgard`: those of the SDK, and those other distributions add.

A distribution adds a command by an entry point in the group `gimle.asgard.commands`: its name is
the command's, its value a function that Typer can read, or a Typer of several commands. A name
with a dot, `blob.init`, adds to a group of commands; `fsck` comes in the place of the SDK's own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer
from gimle.asgard.cli import (
    assets,
    blobs,
    copying,
    example,
    experiments,
    fsck,
    groups,
    identity,
    models,
    runs,
    sim_data,
)
from gimle.asgard.cli.speaking import error_console, plain_errors

GROUP = "gimle.asgard.commands"
ELSEWHERE = {
    "monitor": "Show the runs of a folder in the browser, live.",
    "serve": "Serve runs to programs: gRPC and REST.",
    "config": "Show the settings of the server that hold here.",
    "migrate": "Bring the schema of the database up to this release.",
    "reindex": "Make the index of a storage agree with its documents.",
    "outbox": "Show what other services have refused for good, and tell it to them again.",
    "blob.init": "Make the bucket, and let pages and uploads use it.",
    "keys.init": "Make the first API key, in the server's database.",
}
"""Commands that come with asgard-server, and what they do."""


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="asgard",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Keep what simulations produce, and watch it while it is being produced.\n\n"
        "Begin with:\n\n"
        "```\nasgard example basic/01_integration.yaml --monitor\n"
        "asgard monitor --storage ./storage\n```",
    )
    app.callback()(_root)
    app.command("example")(plain_errors(example.example))
    app.add_typer(runs.app, name="runs")
    app.command("copy")(plain_errors(copying.copy))
    app.add_typer(models.app, name="models")
    app.add_typer(assets.app, name="assets")
    app.add_typer(blobs.app, name="blob")
    app.add_typer(experiments.app, name="experiments")
    app.add_typer(sim_data.app, name="sim-data")
    app.add_typer(identity.users, name="user")
    app.add_typer(groups.app_of(groups.ORGANIZATION), name="org")
    app.add_typer(groups.app_of(groups.TEAM), name="team")
    app.add_typer(identity.keys, name="keys")
    added = {point.name: point for point in entry_points(group=GROUP)}
    if "fsck" not in added:
        app.command("fsck")(plain_errors(fsck.fsck))
    joined = {"blob": blobs.app, "keys": identity.keys}
    for name, point in sorted(added.items()):
        group, _, inner = name.rpartition(".")
        _add(joined.get(group, app), inner, point)
    for name, purpose in ELSEWHERE.items():
        if name not in added:
            group, _, inner = name.rpartition(".")
            _missing(joined.get(group, app), inner, purpose, "it comes with asgard-server")
    return app


def run() -> None:
    """Read the arguments of the process, run the command, end the process."""
    build()(prog_name="asgard")


def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Say the version and end.",
            is_eager=True,
            callback=lambda on: _tell(on),
        ),
    ] = False,
) -> None:
    """Hold the options that go before every command."""


def _tell(on: bool) -> None:
    if on:
        typer.echo(f"asgard {version('gimle-asgard')}")
        raise typer.Exit


def _add(app: typer.Typer, name: str, point: EntryPoint) -> None:
    try:
        added: Callable[..., None] | typer.Typer = point.load()
    except Exception as error:  # noqa: BLE001  # another's code: one broken command, not all
        _missing(app, name, ELSEWHERE.get(name, ""), f"its package cannot be loaded: {error}")
    else:
        if isinstance(added, typer.Typer):
            app.add_typer(added, name=name)
        else:
            app.command(name)(plain_errors(added))


def _missing(app: typer.Typer, name: str, purpose: str, why: str) -> None:
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}

    @app.command(name, help=f"{purpose} (not installed)", context_settings=settings)
    def tell(context: typer.Context) -> None:
        error_console().print(
            f"asgard: `asgard {name}` is not available: {why}.\n"
            "  Install it with: pip install asgard-server",
            markup=False,
        )
        raise typer.Exit(1)
