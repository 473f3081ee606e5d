"""WatchAssets: the change log of assets and experiments, to each what it may see."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from gimle.asgard.v1 import watch_assets_pb2 as pb

from asgard_server.access.domain import Kind
from asgard_server.asset import codec
from asgard_server.asset.access_store import UNWRITTEN, Log, LogEntry, Readable, RevisionGoneError
from asgard_server.asset.telling import TOPIC
from asgard_server.auth.principal import Principal
from asgard_server.feed.feed import Feed
from asgard_server.watching.audience import Audience
from asgard_server.watching.frames import Event, Frames, Guard
from asgard_server.watching.log_watch import LogWatch
from asgard_server.watching.source import PAGE, LogGoneError, News
from asgard_server.watching.tokens import Tokens

# A letter for the log of assets: a token of another service's log is not of this kind.
TOKENS = Tokens(b"a", "WatchAssets", "principals", UNWRITTEN)
_FRAMES = Frames(pb.WatchAssetsResponse)
_Change = pb.WatchAssetsResponse.Change
_KINDS: tuple[Kind, ...] = ("asset", "experiment")
# A look at this log is seven statements: one each 10 ms cost as much as the creates of eight
# callers, of which it told.
_GAP_SECONDS = 0.05


class AssetWatch(LogWatch):
    """Everybody who watches assets. `limits` are those of `LogWatch`."""

    def __init__(self, log: Log, feed: Feed, **limits: Any) -> None:
        self._assets = _Assets(log)
        told = {"gap_seconds": _GAP_SECONDS, **limits}
        super().__init__(self._assets, feed, TOPIC, _FRAMES, TOKENS, **told)

    def tell(self, by: Principal, *, snapshot: bool, token: str) -> AsyncGenerator[bytes, None]:
        """Yield serialised messages of what the caller may see, until it leaves.

        Raises what `follow` does; a token of a caller of other organisations or teams, which may
        have missed what is readable by now, is unusable.
        """
        return self.follow(snapshot=snapshot, token=token, audience=self._assets.audience(by))


class _Assets:
    """The log as a `Source`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def audience(self, by: Principal) -> Audience:
        """What is told to a caller."""
        keys = None if by.sees_everything else by.keys
        name = "" if keys is None else hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()

        async def everything() -> AsyncIterator[list[Event]]:
            for kind in _KINDS:
                behind = None
                while True:
                    found, behind = await self._log.walk(kind, by, behind, PAGE)
                    yield [_there(each, told=by.is_service) for each in found]
                    if behind is None:
                        break

        # The local user sees everything too, and is not told who reads it.
        return Audience("services" if by.is_service else name, keys, by.is_service, everything)

    async def head(self) -> tuple[str, int]:
        return await self._log.head()

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        try:
            found = await self._log.news(epoch, revision, limit)
        except RevisionGoneError:
            raise LogGoneError from None
        events = [_event(each, found.now.get((each.kind, each.id))) for each in found.entries]
        return News(found.epoch, found.head, events)

    async def everything(self, scope: str) -> AsyncIterator[list[Event]]:
        """Of nobody: each watcher has an audience, which says what everything is."""
        for nothing in list[list[Event]]():
            yield nothing


def _there(found: Readable, *, told: bool) -> Event:
    """Something as it is now, in a snapshot."""
    change = _update(found, 0)
    if told:
        change.readers_after.extend(sorted(found.readers))
    return Event(0, "", change.SerializeToString())


def _event(entry: LogEntry, now: Readable | None) -> Event:
    """A change, with whom it is for.

    What is told is as it is now: so only to those who may read it now, too.
    """
    gone = _Change(
        kind=_Change.KIND_DELETE,
        object_kind=entry.kind,
        object_id=entry.id,
        revision=entry.revision,
    ).SerializeToString()
    readers = _Change(
        readers_before=sorted(entry.before), readers_after=sorted(entry.after)
    ).SerializeToString()
    seen = frozenset[str]() if now is None else entry.after & now.readers
    body = gone if now is None else _update(now, entry.revision).SerializeToString()
    guard = Guard(seen, entry.after, entry.before, gone, readers)
    return Event(entry.revision, "", body, guard)


def _update(found: Readable, revision: int) -> pb.WatchAssetsResponse.Change:
    return _Change(
        kind=_Change.KIND_UPDATE,
        object_kind=found.kind,
        object_id=found.id,
        asset=None if found.asset is None else codec.asset_message(found.asset),
        revision=revision,
    )
