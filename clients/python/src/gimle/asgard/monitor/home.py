"""Where an AsgardStorage lives: a folder, or a home with a scheme; those are in `_HOMES`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.folder import Durability, Folder
from gimle.asgard.core.watching import Event, folder_pulse, watch_by_looking

if TYPE_CHECKING:  # loads gRPC: only for those who use it
    from gimle.asgard.client.transfers import Progress

Where = str | os.PathLike[str]


class Home(Protocol):
    """What keeps documents. Every write is atomic; errors are those of core.errors."""

    @property
    def reads_at_once(self) -> int:
        """How many documents are worth reading side by side."""
        ...

    def create_run(
        self, run: RunDocument, results: Sequence[ResultDocument] = ()
    ) -> tuple[RunDocument, list[ResultDocument]]:
        """Write a run with its results; answer both as stored."""
        ...

    def update_run(self, run_id: str, change: Callable[[RunDocument], RunDocument]) -> RunDocument:
        """Replace a run by `change` of itself, alone."""
        ...

    def add_result(self, result: ResultDocument) -> ResultDocument:
        """Write a result and list it in its run; answer it as stored."""
        ...

    def append(self, result_id: str, data: Mapping[str, Any], at: int | None) -> ResultDocument:
        """Grow fields of a result."""
        ...

    def delete_run(self, run_id: str) -> None:
        """Delete a run, its results and their arrays."""
        ...

    def delete_result(self, result_id: str) -> None:
        """Delete a result and its arrays."""
        ...

    def read_run(self, run_id: str) -> RunDocument:
        """Read a run."""
        ...

    def read_result_document(self, result_id: str) -> ResultDocument:
        """Read a result; arrays in files stay references."""
        ...

    def read_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays."""
        ...

    def run_ids_newest_first(self) -> Iterator[str]:
        """List the ids of runs."""
        ...


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@dataclass(frozen=True, slots=True)
class Reach:
    """How a service is reached; each None stands for what is usual."""

    spool: str | os.PathLike[str] | None = None
    timeout: float | None = None
    patience: float | None = None
    progress: Progress | None = None


def _service(where: str, durability: Durability, reach: Reach) -> Home:
    from gimle.asgard.client.connection import Connection
    from gimle.asgard.client.home import GrpcHome
    from gimle.asgard.client.spool import Spool
    from gimle.asgard.client.spooling import PATIENCE_SECONDS, SpoolingHome

    given = {
        "timeout": reach.timeout,
        "patience": PATIENCE_SECONDS
        if reach.patience is None and reach.spool is not None
        else reach.patience,
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    connection = Connection(where, progress=reach.progress, **settings)
    if reach.spool is None:
        return GrpcHome(connection)
    return SpoolingHome(connection, Spool(reach.spool))


def _bucket(where: str, durability: Durability, reach: Reach) -> Home:
    from gimle.asgard.core.s3.bucket import Bucket
    from gimle.asgard.core.s3.place import parse_url

    return Bucket(parse_url(where))


_HOMES: dict[str, Callable[[str, Durability, Reach], Home]] = {
    "grpc": _service,
    "grpcs": _service,
    "s3": _bucket,
}


def open_home(where: Where, durability: Durability, reach: Reach | None = None) -> Home:
    """Open the place that `where` names. Raises InvalidFieldError, StorageUnavailableError."""
    place = os.fspath(where)
    if not isinstance(place, str) or not place:
        raise InvalidFieldError("where", f"{where!r} is not a path", "give a folder as text")
    reach = reach or Reach()
    match = _SCHEME.match(place) if isinstance(where, str) else None
    scheme = "" if match is None else match[1].lower()
    if reach.spool is not None and scheme not in ("grpc", "grpcs"):
        raise InvalidFieldError(
            "spool", f"{place!r} is no service", "leave it out, or give a grpc:// address"
        )
    if match is None:
        return Folder(place, durability=durability)
    if scheme in _HOMES:
        return _HOMES[scheme](place, durability, reach)
    raise InvalidFieldError(
        "where",
        f"{place!r} has an unknown scheme",
        "give a folder, s3://bucket/prefix or grpc://host:port",
    )


# How often a place that does not tell is looked at: a folder costs a stat, S3 two LISTs.
_FOLDER_SECONDS, _S3_SECONDS = 0.2, 2.0


def watch_home(home: Any, *, snapshot: bool, token: str) -> Iterator[Event]:
    """Say what changes in a home: a service tells by itself, other places are looked at."""
    if isinstance(home, Folder):
        return watch_by_looking(
            home, snapshot=snapshot, seconds=_FOLDER_SECONDS, pulse=folder_pulse(home.path)
        )
    if hasattr(home, "watch"):
        events: Iterator[Event] = home.watch(snapshot=snapshot, token=token)
        return events
    return watch_by_looking(home, snapshot=snapshot, seconds=_S3_SECONDS)
