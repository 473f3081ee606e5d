"""`asgard fsck` of blobs: rows without bytes, bytes without rows, and bytes that are others.

It runs beside services and uploads. What lies there is listed before rows are looked up, for a
row is older than anything that is allowed to come under its key; rows are walked after that, and
what then seems to be missing is looked at by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from gimle.asgard.core.errors import BlobOwnedError, NotFoundError
from gimle.asgard.core.folder.fsck import Finding

from asgard_server.blob import domain, fates
from asgard_server.blob.claiming import claimed
from asgard_server.blob.digesting import digests
from asgard_server.blob.domain import Blob
from asgard_server.blob.holdings import Claimants, Holding, Holdings, Owner, Rows
from asgard_server.blob.owning import compared

DAY = timedelta(days=1)
Tell = Callable[[str, int], None]
T = TypeVar("T")

_PAGE = 500
# Blobs whose bytes are read at a time.
_READ_AT_ONCE = 4


@dataclass(slots=True)
class Tally:
    """How many, and how many bytes they have."""

    count: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one more."""
        self.count += 1
        self.size_bytes += size_bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """What lies there: blobs that are ready, what is on its way, and what is not as it should be.

    `read`: what --deep has read and compared.
    """

    ready: Tally = field(default_factory=Tally)
    on_the_way: Tally = field(default_factory=Tally)
    read: Tally = field(default_factory=Tally)
    findings: list[Finding] = field(default_factory=list)


class Examiner:
    """Holds the table of blobs against the store of their bytes.

    `young`: what is younger is not removed. `margin`: what is younger is not even told of, for a
    request that has begun may still come to an end. `owners` keep bytes under keys of their own,
    each in its store. `claimants` say which blobs they need.
    """

    def __init__(
        self,
        rows: Rows,
        holdings: Holdings,
        clock: Callable[[], datetime],
        *,
        owners: Sequence[tuple[Owner, Holdings]] = (),
        claimants: Sequence[Claimants] = (),
        young: timedelta = DAY,
        margin: timedelta = domain.MARGIN,
        tell: Tell = lambda step, count: None,
    ) -> None:
        self._table = rows
        self._holdings = holdings
        self._clock = clock
        self._owners = owners
        self._claimants = claimants
        self._young = young.total_seconds()
        self._margin = min(margin, young).total_seconds()
        self._tell = tell

    async def examine(self, *, repair: bool = False, deep: bool = False) -> Examined:
        """Examine all bytes and rows; with `repair` remove what nobody needs.

        Raises `StorageUnavailableError`; what was repaired until then stays so.
        """
        done = Examined()
        seen = await self._objects(done, repair=repair and await self._knows_any())
        await self._rows(done, seen, repair=repair, deep=deep)
        for owner, holdings in self._owners:
            self._tell(f"asking for {owner.folder}", 0)
            async for finding in compared(owner, holdings, deep=deep, margin_seconds=self._margin):
                done.findings.append(finding)
        for claimants in self._claimants:
            self._tell(f"asking who needs blobs as {claimants.kind}", 0)
            async for finding in claimed(claimants, self._table):
                done.findings.append(finding)
        done.findings.sort(key=lambda finding: finding.path)
        return done

    async def _knows_any(self) -> bool:
        """A table without a row is another storage's, or was lost: nothing is removed by it."""
        return bool(await self._table.page("", "", 1))

    # Bytes --------------------------------------------------------------------------------

    async def _objects(self, done: Examined, *, repair: bool) -> set[str]:
        """Look at all that lies there; answer the ids of blobs whose bytes do."""
        seen: set[str] = set()
        count = 0
        for source in (
            self._holdings.objects("blobs/"),
            self._holdings.objects("staging/"),
            self._holdings.unfinished(),
        ):
            async for page in _paged(source):
                self._tell("looking at bytes", count := count + len(page))
                await self._page(page, done, seen, repair=repair)
        async for held in self._holdings.temporaries():
            problem = "a request has left it that never ended"
            leftover = fates.Leftover("temporary", problem, self._young)
            await self._leftover(held, leftover, done, repair=repair)
        return seen

    async def _page(
        self, page: list[Holding], done: Examined, seen: set[str], *, repair: bool
    ) -> None:
        rows = await self._table.known([domain.id_of_key(held.key) for held in page if held.key])
        going = await self._going(page)
        for held in page:
            row = rows.get(domain.id_of_key(held.key)) if held.key else going.get(held.upload_id)
            fate = fates.fate(held, row, self._clock(), self._young, self._margin)
            if isinstance(fate, fates.Leftover):
                await self._leftover(held, fate, done, repair=repair)
            elif fate == "going":
                done.on_the_way.add(held.size_bytes)
            elif row is not None:
                seen.add(row.id)
                done.ready.add(held.size_bytes)
                if row.size_bytes not in (None, held.size_bytes):
                    problem = f"it has {held.size_bytes:,} bytes, not {row.size_bytes:,}"
                    _found(done, "wrong_size", held.key, problem, held.size_bytes)

    async def _going(self, page: list[Holding]) -> dict[str, Blob]:
        """Uploads that go on, by what a folder calls their parts."""
        if all(held.key for held in page):
            return {}
        return {row.upload_id: row async for row in self._walk() if row.upload_id is not None}

    async def _leftover(
        self, held: Holding, leftover: fates.Leftover, done: Examined, *, repair: bool
    ) -> None:
        if held.age_seconds < self._margin:
            done.on_the_way.add(held.size_bytes)
            return
        if not held.upload_id and await self._holdings.now(held.key) is None:
            return  # a sweeper, or whoever wrote it, has removed it since it was listed
        removed = repair and held.age_seconds >= leftover.after_seconds
        if removed:
            await self._holdings.drop(held)
        where = held.key or f"parts/{held.upload_id}"
        _found(done, leftover.kind, where, leftover.problem, held.size_bytes, removed)

    # Rows ---------------------------------------------------------------------------------

    async def _walk(self) -> AsyncIterator[Blob]:
        """All uploads that go on and all blobs that are ready."""
        behind = ""
        while page := await self._table.page("", behind, _PAGE):
            for row in page:
                yield row
            behind = page[-1].name

    async def _rows(self, done: Examined, seen: set[str], *, repair: bool, deep: bool) -> None:
        turns = asyncio.Semaphore(_READ_AT_ONCE)
        count = 0

        async def one(row: Blob) -> None:
            async with turns:
                if row.id not in seen and await self._holdings.now(row.key) is None:
                    await self._missing(row, done, forget=repair and bool(seen))
                elif deep:
                    await self._read(row, done)

        async for page in _paged(self._ready()):
            self._tell("reading bytes" if deep else "looking for bytes", count := count + len(page))
            await asyncio.gather(*map(one, page))

    async def _ready(self) -> AsyncIterator[Blob]:
        async for row in self._walk():
            if row.state == "ready":
                yield row

    async def _missing(self, row: Blob, done: Examined, *, forget: bool) -> None:
        now = (await self._table.find([row.id])).get(row.id)
        if now is None or (now.state, now.attempt) != (row.state, row.attempt):
            return  # deleted meanwhile
        size = row.size_bytes or 0
        if now.owners:
            problem = f"the bytes of {row.name} are gone, and {', '.join(now.owners)} need them"
            _found(done, "missing_bytes", row.key, problem, size)
            return
        old = self._clock() - (row.ready_at or row.created_at) >= timedelta(seconds=self._young)
        problem = f"the bytes of {row.name} are gone, and nobody has claimed them"
        forgotten = forget and old and await self._forgotten(now)
        _found(done, "missing_bytes", row.key, problem, size, forgotten)

    async def _forgotten(self, row: Blob) -> bool:
        """Give the name of a blob whose bytes are gone free."""
        try:
            now = await self._table.settle(row, domain.moved_to(row, "deleted"))
        except (BlobOwnedError, NotFoundError):
            return False
        return now.state == "deleted"

    async def _read(self, row: Blob, done: Examined) -> None:
        try:
            found = await digests(self._holdings.pieces(row.key), row.part_size_bytes)
        except FileNotFoundError:
            await self._missing(row, done, forget=False)
            return
        done.read.add(found.size_bytes)
        if row.sha256 not in (None, found.sha256):
            problem = f"its bytes have the SHA-256 {found.sha256}, not {row.sha256}"
            _found(done, "wrong_digest", row.key, problem, found.size_bytes)
        elif row.sha256_parts not in (None, found.sha256_parts):
            problem = f"its parts have the SHA-256 {found.sha256_parts}, not {row.sha256_parts}"
            _found(done, "wrong_digest", row.key, problem, found.size_bytes)


def _found(
    done: Examined, kind: str, key: str, problem: str, size: int, repaired: bool = False
) -> None:
    done.findings.append(Finding(kind, key, problem, repaired, size))


async def _paged(source: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    page: list[T] = []
    async for each in source:
        page.append(each)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
