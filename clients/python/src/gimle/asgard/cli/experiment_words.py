"""What the commands on experiments and variations have in common: the server, and how they say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.speaking import console

if TYPE_CHECKING:
    from gimle.asgard.client.experiments import Experiments

SERVER = "grpc://localhost:50051"

Server = Annotated[
    str,
    typer.Option(
        help="Where ExperimentService is: `asgard monitor` at 50051, `asgard serve asset` at "
        "grpc://HOST:50052; grpcs:// over TLS."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
Experiment = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="The id of an experiment.")]
Variation = Annotated[int, typer.Argument(metavar="VARIATION", help="Its number, from 0 on.")]
Run = Annotated[int, typer.Argument(metavar="RUN", help="Its number, from 0 on.")]


def opened(server: str) -> Experiments:
    """The service at an address."""
    from gimle.asgard.client.experiments import Experiments

    return Experiments(server)


def say(row: Any, as_json: bool) -> None:
    """Say one thing, a field a line."""
    if as_json:
        console().print_json(json.dumps(row))
        return
    for field, value in row.items():
        if value not in (None, [], "", {}):
            console().print(f"{field:<20} {_text(value)}", markup=False)


def say_all(rows: Iterable[Any], fields: Sequence[str], none: str, as_json: bool) -> None:
    """Say many things, one a line."""
    found = list(rows)
    if as_json:
        console().print_json(json.dumps(found))
        return
    if not found:
        console().print(none, markup=False)
        return
    table = [list(fields), *([_text(row[field]) for field in fields] for row in found)]
    widths = [max(len(row[column]) for row in table) for column in range(len(fields))]
    for number, row in enumerate(table):
        line = "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True))
        console().print(line.rstrip(), style=None if number else "bold", markup=False)


def say_assets(rows: Iterable[Any], as_json: bool) -> None:
    """Say inputs or outputs, with what keeps them from being relied on."""
    found = list(rows)
    if as_json:
        say_all(found, (), "", as_json)
        return
    for row in found:
        flag = row["invalidated"] or row["deprecated"]
        word = "invalidated" if row["invalidated"] else "deprecated"
        row["note"] = f"{word}: {flag['reason']}" if flag else ""
    fields = ("id", "asset_type", "name", "state", "variation", "run", "note")
    say_all(found, fields, "There is none.", as_json)


def warn(warnings: Iterable[Any]) -> None:
    """Say what is noteworthy of what was linked, beside the answer."""
    from gimle.asgard.cli.speaking import error_console

    for each in warnings:
        error_console().print(
            f"asgard: {each['asset_id']} is {each['kind']}: {each['reason']}", markup=False
        )


def _text(value: Any) -> str:
    if value in (None, "", [], {}):
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items() if one)
    return " ".join(str(value).split())
