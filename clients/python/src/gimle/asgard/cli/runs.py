"""`asgard runs`: list, show, share and delete the runs of a storage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.speaking import console, existing, fail, plain_errors, waiting

if TYPE_CHECKING:
    from gimle.asgard.monitor.storage import AsgardStorage, Result, Run

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, show, share and delete runs.",
)

_VISIBILITIES = {
    "private": "private",
    "public": "public",
    **dict.fromkeys(("organization", "org", "org_public"), "org_public"),
}

Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        "-s",
        envvar="ASGARD_STORAGE",
        help="A folder, s3://bucket/prefix or grpc://host:port.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
Id = Annotated[
    str, typer.Argument(metavar="RUN", help="The id of a run, or its beginning if only one has it.")
]


def list_runs(
    storage: Storage = "storage",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of a storage, newest first.

    Examples:

    ```
    asgard runs list
    asgard runs list --storage ./my-results --limit 5
    asgard runs list --storage grpc://localhost:50051
    asgard runs list --limit 0 --json | jq -r '.[].id'
    ```
    """
    with waiting(f"Listing the runs of {storage}"):
        runs = _open(storage).list_runs(limit or None)
    if as_json:
        console().print_json(json.dumps([_run_json(run) for run in runs]))
        return
    if not runs:
        console().print(f"No runs in {storage}.", markup=False)
        return
    # Lines and no table: a table would squeeze the names in an ordinary terminal's 80 columns.
    width = max(len(run.id) for run in runs)
    line = f"{{:<{width}}}  {{:<19}}  {{:<9}}  {{:>7}}  {{}}"
    out = console()
    out.print(line.format("id", "created", "status", "results", "name"), style="bold")
    for run in runs:
        created = run.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        name = " ".join(run.name.split())
        row = (run.id, created, run.status or "-", len(run.result_ids), name)
        out.print(line.format(*row), markup=False)


def show(
    run_id: Id,
    storage: Storage = "storage",
    as_json: AsJson = False,
) -> None:
    """Show a run and what its results hold.

    Examples:

    ```
    asgard runs show 0198c0de
    asgard runs show 0198c0de --json
    ```
    """
    with waiting(f"Reading from {storage}"):
        run = _find(_open(storage), run_id)
        results = run.results
    if as_json:
        shown = _run_json(run) | {"results": [_result_json(result) for result in results]}
        console().print_json(json.dumps(shown))
        return
    out = console()
    out.print(f"[bold]{_plain(run.name)}[/bold]  {run.id}")
    for label, value in (
        ("created", run.created_at.astimezone().isoformat(timespec="seconds")),
        ("status", run.status),
        ("owner", run.owner),
        ("organization", run.organization_id),
        ("visibility", run.visibility),
        ("equation", run.equation),
        ("circuit", run.circuit),
        ("tags", ", ".join(run.tags)),
        ("note", run.note),
    ):
        if value:
            out.print(f"  {label:<12} {value}", markup=False)
    for result in results:
        title = result.display.get("title", "")
        out.print(f"  {result.result_type:<20} {result.id}  {title}", markup=False)
        for name, text in _fields(result.data):
            out.print(f"      {name:<14} {text}", markup=False)


def delete(
    run_ids: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Ids of runs, or their beginnings.")
    ],
    storage: Storage = "storage",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete runs with their results and arrays. There is no way back.

    Examples:

    ```
    asgard runs delete 0198c0de
    asgard runs delete 0198c0de 0198c0df --yes
    ```
    """
    with waiting(f"Reading from {storage}"):
        place = _open(storage)
        runs = list({run.id: run for run in (_find(place, one) for one in run_ids)}.values())
    if not yes:
        for run in runs:
            typer.echo(f"{run.id}  {run.name}, {len(run.result_ids)} result(s)", err=True)
        if not typer.confirm(f"Delete {len(runs)} run(s) for ever?", err=True):
            fail("nothing was deleted")
    for run in runs:
        with waiting(f"Deleting {run.id}"):
            place.delete_run(run)
        if not as_json:
            console().print(f"Deleted {run.id}", markup=False)
    if as_json:
        console().print_json(json.dumps({"deleted": [run.id for run in runs]}))


def visibility(
    run_id: Id,
    who: Annotated[str, typer.Argument(metavar="WHO", help="private, organization or public.")],
    storage: Storage = "storage",
    organization: Annotated[
        str, typer.Option(help="An organisation of yours, whose the run is from now on.")
    ] = "",
    owner: Annotated[str, typer.Option(help="The user who owns it from now on.")] = "",
) -> None:
    """Say who reads a run of yours, and whose it is.

    Examples:

    ```
    asgard runs visibility 0198c0de public
    asgard runs visibility 0198c0de organization --organization o/acme
    asgard runs visibility 0198c0de private --owner @alice
    ```
    """
    wanted = _VISIBILITIES.get(who)
    if wanted is None:
        fail(f"{who!r} says nothing of who reads a run", "say private, organization or public")
    from gimle.asgard.monitor.fields import UNCHANGED

    with waiting(f"Changing a run of {storage}"):
        place = _open(storage)
        run = _find(place, run_id)
        place.update_run(
            run,
            visibility=wanted,
            organization_id=organization or UNCHANGED,
            owner=owner or UNCHANGED,
        )
    console().print(f"{run.id}: {run.visibility}", markup=False)


app.command("list")(plain_errors(list_runs))
app.command("show")(plain_errors(show))
app.command("delete")(plain_errors(delete))
app.command("visibility")(plain_errors(visibility))


def _open(storage: str) -> AsgardStorage:
    from gimle.asgard.monitor.storage import AsgardStorage

    return AsgardStorage(existing(storage))


def _find(place: AsgardStorage, text: str) -> Run:
    """The one run whose id is or begins with `text`."""
    from gimle.asgard.core.errors import InvalidNameError, NotFoundError

    # Every id begins with nothing: a script's empty variable must not choose a run.
    if not text:
        fail("the id of the run is empty", "see `asgard runs list`")
    try:
        return place.load_run(text)
    except (InvalidNameError, NotFoundError):
        found = [run for run in place.list_runs() if run.id.startswith(text)]
    if not found:
        fail(f"there is no run {text}", "see `asgard runs list`")
    if len(found) > 1:
        fail(f"{len(found)} runs begin with {text}", "give more of the id")
    return found[0]


def _run_json(run: Run) -> dict[str, Any]:
    """A run as REST shows it."""
    return {
        "id": run.id,
        "name": run.name,
        "created_at": _time(run.created_at),
        "updated_at": _time(run.updated_at),
        "equation": run.equation,
        "circuit": run.circuit,
        "metadata": _as_stored(run.metadata),
        "tags": list(run.tags),
        "note": run.note,
        "status": run.status,
        "finished_at": _time(run.finished_at),
        "result_count": len(run.result_ids),
        "owner": run.owner,
        "organization_id": run.organization_id,
        "visibility": run.visibility,
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "id": result.id,
        "result_type": result.result_type,
        "created_at": _time(result.created_at),
        "display": _as_stored(result.display),
        "data": dict(_fields(result.data)),
    }


def _as_stored(value: Any) -> Any:
    """JSON as it lies in the document, with what JSON lacks written as `{"$float": "nan"}`."""
    from gimle.asgard.core import exact

    return json.loads(exact.dumps(value))


def _fields(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(field, what it holds in a few words) of a result's data."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}.")
        elif hasattr(value, "dtype") and hasattr(value, "shape"):
            yield f"{prefix}{name}", f"{value.dtype} {list(value.shape)}"
        elif isinstance(value, list):
            yield f"{prefix}{name}", f"list of {len(value)}"
        else:
            text = repr(value)
            yield f"{prefix}{name}", text if len(text) <= 60 else text[:57] + "..."


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
