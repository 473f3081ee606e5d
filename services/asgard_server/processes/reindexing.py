"""The whole index held against all documents, or made anew, beside services that go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asgard_server.processes.engines import Engines, open_engines
from asgard_server.run.observe import Observer
from asgard_server.run.scan import CHUNK
from asgard_server.run.store import Entry, Key, Kind
from asgard_server.settings import Settings

Tell = Callable[[str, int], None]

_KINDS: tuple[Kind, ...] = ("result", "run")
# So many documents between two words of progress.
_STEP = 500


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What was found: documents there are, those whose row was mended, and whether all are new."""

    place: str
    documents: int
    changed: int
    built: bool


async def reindex(settings: Settings, tell: Tell, *, rebuild: bool = False) -> Reindexed:
    """Make the index of `settings` agree with its documents; `tell` hears step and count.

    `rebuild`: throw the index away first. What is served meanwhile is what is known so far.
    Raises what `open_engines` does, also for a folder that is not there, and
    `StorageUnavailableError` when a listing breaks off.
    """
    async with open_engines(settings, create=False) as engines:
        await engines.documents.check()
        built = False
        if rebuild:
            await engines.index.forget()
        if await engines.index.building():
            listings = [
                (kind, _Counted(await engines.documents.scan(kind), f"reading {kind}s", tell))
                for kind in _KINDS
            ]
            await engines.index.rebuild(listings)
            built = True
        return await _compare(engines, tell, built=built)


async def _compare(engines: Engines, tell: Tell, *, built: bool) -> Reindexed:
    observer = Observer(engines.index, engines.feed)
    documents = changed = 0
    for kind in _KINDS:
        started_at = datetime.now(UTC)
        seen = _Counted(await engines.documents.scan(kind), f"comparing {kind}s", tell)
        different = await engines.index.compare(kind, seen, started_at)
        for start in range(0, len(different), CHUNK):
            tell(f"mending {kind}s", start)
            changed += await _mended(engines, observer, different[start : start + CHUNK])
        documents += seen.count
    # Also where nothing differed: services that others brought up to date are to look.
    await observer.look()
    return Reindexed(engines.name, documents, changed, built)


async def _mended(engines: Engines, observer: Observer, keys: Sequence[Key]) -> int:
    """Observe documents; count the rows that are others now. Some are only looked at again."""
    before = await engines.index.rows(keys)
    await observer.observe(*keys)
    after = await engines.index.rows(keys)
    return sum(before.get(key) != after.get(key) for key in keys)


class _Counted:
    """A listing that counts what is taken from it, in the thread that takes."""

    def __init__(self, listing: Iterable[Entry], step: str, tell: Tell) -> None:
        self.count = 0
        self._listing = listing
        self._step = step
        self._tell = tell

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._listing:
            self.count += 1
            if self.count % _STEP == 0:
                self._tell(self._step, self.count)
            yield entry
