"""The ports of RunService: the documents, which are the truth, and what is derived from them.

`Documents` is a place that holds runs, results and arrays: a folder, or a prefix in an
object store. `RunIndex` holds rows made from them, for lists and search,
and the change log; it may be thrown away and rebuilt at any time. Their other faces, for
the one who notices other writers, are in upkeep.py; what a place needs that has neither locks
nor transactions is in ledger.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.documents import ResultDocument, RunDocument

Kind = Literal["run", "result"]

# Of so many candidates, the newest, the texts are looked at for words of one or two letters,
# which no index of trigrams answers.
LOOKED_AT = 10_000


class Key(NamedTuple):
    """What a document is called."""

    kind: Kind
    id: str


class Found(NamedTuple):
    """A document as it lies in the place: its bytes, what a scan compares, and its age.

    `run` or `result` is what the bytes say, where they were written of it.
    """

    body: bytes
    stamp: str
    modified_at: datetime
    run: RunDocument | None = None
    result: ResultDocument | None = None


class Entry(NamedTuple):
    """A document seen by a scan. `stamp` changes whenever the document is replaced."""

    key: Key
    stamp: str


Readers: TypeAlias = frozenset[str] | None
"""Who may read a run, by the keys of principals; None: whoever is identified."""


class Change(NamedTuple):
    """One entry of the change log. `gone` says that the object was deleted.

    `before` and `after`: who could read a run before the change, and who could behind it; of a
    result that is gone `before` alone, of one that is there neither: they are its run's.
    """

    revision: int
    key: Key
    run_id: str
    gone: bool
    before: Readers = None
    after: Readers = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the index knows it. `run` has no result ids; `result_count` counts them.

    `run.created_at` is the time it is ordered and shown by: where the document's is
    more than 5 minutes ahead of the service's clock, the time it was received.
    `changed_at` is when its document or one of its results' was last written.
    """

    run: RunDocument
    result_count: int
    etag: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A result as the index knows it, without its data."""

    id: str
    run_id: str
    result_type: str
    display: dict[str, Any]
    created_at: datetime
    etag: str


class Position(NamedTuple):
    """Where a page of a list ends: the next one begins behind it."""

    created_at: datetime
    id: str


class News(NamedTuple):
    """Entries of the log behind a revision, and the rows of those that are not gone.

    `head` is the newest revision known to the answer, in `epoch`. `circles`: who may read the
    runs of results among `rows`, as far as these are there.
    """

    epoch: str
    head: int
    changes: list[Change]
    rows: Mapping[Key, RunRow | ResultRow]
    circles: Mapping[str, Readers] = MappingProxyType({})


Rows: TypeAlias = Sequence[tuple[tuple[str, ...], ArrayRef]]
"""Fields of a result, and for each how its reference would describe rows."""


class Documents(Protocol):
    """The place where runs, results and arrays lie.

    Every write is atomic: a reader sees a whole document or none. Raises
    `StorageUnavailable` when the place is gone or is another one than was opened,
    `StorageFull` when it has no room; nothing is half-written then.
    """

    async def create_run(self, run: RunDocument, results: Sequence[ResultDocument]) -> None:
        """Write `results`, then `run`. Raises `AlreadyExists` when an id is taken."""

    async def update_run(
        self, run_id: str, change: Callable[[RunDocument], RunDocument]
    ) -> RunDocument:
        """Replace a run by `change` of itself, alone. Raises `NotFound` and what `change` does."""

    async def add_result(self, result: ResultDocument) -> Sequence[Key]:
        """Write a result, and list it in its run now or soon; answer what is to be observed.

        Raises `NotFound` (the run), `AlreadyExists`.
        """

    async def append(self, result_id: str, data: dict[str, Any], at: int | None) -> ResultDocument:
        """Grow fields of a result. Raises `NotFound`, `LengthMismatch`, `CannotAppend`.

        Rows may lie in a file of the place: then a reference stands for them.
        """

    async def rows_places(
        self, found: Found, result_id: str, upload_id: str, rows: Rows
    ) -> list[str] | None:
        """Where files of rows for these fields of a result may be put, so that `append` takes them.

        None where they cannot stay as they came. What is said of a place in `rows` does not matter.
        """

    async def delete(self, key: Key, also: Collection[str] = ()) -> None:
        """Delete a run with its results, or a result, with arrays. Raises `NotFound`.

        `also` names results known to be the run's, beyond its list.
        """

    async def read(self, key: Key) -> Found | None:
        """Read a document's bytes, None when there is none."""

    async def open_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays, large ones memory-mapped. Raises `NotFound`."""

    async def look_at(self, result_id: str) -> ResultDocument:
        """Read a result to draw it: of large arrays what is looked at may be read only then.

        That raises `ArrayMovedError` where the result has changed meanwhile. Raises `NotFound`.
        """

    async def scan(self, kind: Kind) -> Iterable[Entry]:
        """List all documents of a kind.

        The answer is lazy and reads the place as it is consumed: do that in a thread.
        It raises `StorageUnavailable`, at once or midway, if the listing is not whole.
        """


class RevisionGoneError(LookupError):
    """The change log no longer reaches back to this revision: begin with a snapshot."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"changes behind {revision} are gone; the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest


class RunIndex(Protocol):
    """Rows derived from documents, and the change log of them.

    Revisions are dense and ordered: a reader that has seen N and reads behind it
    misses nothing.
    """

    async def observe(self, keys: Sequence[Key]) -> int:
        """Make rows and log agree with what the documents now say; answer the head revision.

        Under the lock of each key the document is read; where its digest differs from
        the row's, row and log entry are written, all of them in one transaction. An
        unchanged document logs nothing.
        """

    async def take_in(self, keys: Sequence[Key], result: Key) -> tuple[int, ResultRow | None]:
        """Observe, and answer the row of one of the results as well, None when it is gone."""

    async def run(self, run_id: str) -> RunRow | None:
        """Look up a run."""

    async def result(self, result_id: str) -> ResultRow | None:
        """Look up a result."""

    async def list_runs(
        self,
        query: str,
        behind: Position | None,
        limit: int,
        by: frozenset[str] | None = None,
    ) -> tuple[list[RunRow], int]:
        """Runs newest first that match `query`, and how many match (counted to 10,001).

        Only those that one of the principals `by` may read, unless it is None: neither page nor
        count tells of others. Words of one or two letters are looked for in the newest LOOKED_AT
        of those runs in which the longer words occur.
        """

    async def list_results(
        self, run_id: str, behind: Position | None, limit: int
    ) -> list[ResultRow]:
        """Results of a run, oldest first by (created_at, id)."""

    async def result_ids(self, run_id: str) -> list[str]:
        """Ids of all results of a run, oldest first by (created_at, id)."""

    async def rows(self, keys: Sequence[Key]) -> dict[Key, RunRow | ResultRow]:
        """Look up many at once, as of one moment; those that are gone are left out."""

    async def walk(
        self, kind: Kind, behind: str, limit: int, by: frozenset[str] | None = None
    ) -> list[RunRow] | list[ResultRow]:
        """All rows of a kind in the order of their ids, those > `behind`: for snapshots.

        Only those that one of the principals `by` may read, unless it is None.
        """

    async def circles(self, run_ids: Sequence[str]) -> dict[str, Readers]:
        """Who may read these runs; those that are not there are left out."""

    async def changes(self, behind: int, limit: int) -> list[Change]:
        """Log entries with revision > `behind`, in order.

        Raises `RevisionGoneError` when some of them are no longer kept.
        """

    async def news(self, epoch: str, behind: int, limit: int) -> News:
        """`changes`, the `rows` of them as they are now or were then, and `head`, at once.

        Of another epoch than `epoch` there are no changes. Where some are answered from
        memory, what others wrote behind them is not looked for.
        """

    async def head(self) -> tuple[str, int]:
        """The epoch, and the newest revision."""

    async def remember(self, key: Key, digest: bytes) -> None:
        """Keep the digest of the request that created `key`, for repeats."""

    async def recall(self, key: Key) -> bytes | None:
        """The digest kept by `remember`, None when unknown."""

    async def tombstone(self, key: Key) -> datetime | None:
        """When `key` was deleted, if that is less than 30 days ago."""


class Created(NamedTuple):
    """What is known of a run that was just written: its etag, and the head revision."""

    etag: str
    revision: int


class CreatingAtOnce(Protocol):
    """Documents and index that together write a run faster than one after the other."""

    async def create_run(self, run: RunDocument, request: bytes | None) -> Created:
        """`Documents.create_run`, then `RunIndex.observe` and, of a digest, `remember`."""
