"""What the commands on assets and experiments have in common: the server, who asks, tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.speaking import console, fail

if TYPE_CHECKING:
    from methodic import Chronicle

Server = Annotated[
    str | None,
    typer.Option(
        help="The page's address [default: CHRONICLE_SERVER_URL, else http://localhost:8000]"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
AssetId = Annotated[str, typer.Argument(metavar="ASSET", help="The id of an asset.")]

# A store on this machine takes whoever shows no key of its own for its local user.
_NO_KEY = "local"


@contextmanager
def chronicle(server: str | None) -> Iterator[Chronicle]:
    """The client, as options and CHRONICLE_* say; what it raises is told in one line."""
    try:
        from methodic import (
            AuthenticationError,
            Chronicle,
            ChronicleConfigError,
            ChronicleError,
        )
        from methodic.config import of_environment
    except ImportError as error:
        fail(f"{error}", "install it with: pip install 'gimle-asgard[methodic]'")
    given = {} if server is None else {"server_url": server}
    try:
        try:
            found = of_environment(given)
        except ChronicleConfigError:
            found = of_environment({**given, "api_key": _NO_KEY})
        with Chronicle(
            *(found.server_url, found.api_key, found.timeout, found.max_upload_workers),
            *(found.organization_id, found.organization_slug),
        ) as opened:
            yield opened
    except AuthenticationError as error:
        fail(
            error.detail,
            "set CHRONICLE_API_KEY to a key of yours; `asgard keys create` makes one",
        )
    except ChronicleError as error:
        fail(str(error))


def say_json(value: Any) -> None:
    """Print JSON."""
    console().print_json(json.dumps(value))


def say_table(names: Sequence[str], rows: Iterable[Sequence[str]], none: str) -> None:
    """Print rows below their names; `none` where there is no row."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*names, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(none, markup=False)


def short_time(text: str) -> str:
    """A time of an answer, to the minute."""
    return text[:16].replace("T", " ")


def say_assets(found: Sequence[Any]) -> None:
    """Print assets, a line each."""
    from rich.filesize import decimal

    say_table(
        ("id", "type", "name", "state", "size", "created"),
        (
            (
                each.id,
                each.asset_type,
                (each.get("name") or "") + _flags(each),
                each.state,
                "" if each.get("size_bytes") is None else decimal(each.size_bytes),
                short_time(each.created_at),
            )
            for each in found
        ),
        "There are no such assets.",
    )


def _flags(asset: Any) -> str:
    return "".join(f"  [{flag}]" for flag in ("deprecated", "invalidated") if asset.get(flag))
