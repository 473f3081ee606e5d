"""The port to a place's ledger: what replicas have begun there and not finished.

For places that have neither locks nor transactions: what is begun is written down first, so that
others can finish it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol
from uuid import NAMESPACE_URL, uuid5

from asgard_server.run.store import Key


class Write(NamedTuple):
    """A document that is being written, under a `token` of its own.

    `files`: arrays that are written for it; where it does not come to be, they go. `lists`:
    it is a new result, which its run's document does not name yet.
    """

    token: str
    key: Key
    run_id: str
    files: tuple[str, ...] = ()
    lists: bool = False


def stray_token(key: Key) -> str:
    """The token under which it is written down that a document may still be written: one each."""
    return uuid5(NAMESPACE_URL, f"asgard:{key.kind}/{key.id}").hex


class Deletion(NamedTuple):
    """A delete: everything that goes with `key`, by name.

    One of a result that does not name the result itself is of what was written for it: it never
    was there, and the id stays free.
    """

    key: Key
    run_id: str
    results: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Ledger(Protocol):
    """What the replicas of a service have begun and not finished, whoever of them dies.

    What a method has written when it answers outlives every process. The index ends a write
    when it has observed its document, in the same transaction.
    """

    async def begin(self, writes: Sequence[Write]) -> frozenset[Key]:
        """Write down writes before they are made, or say that they still go on.

        Answer which of their documents and runs are being deleted, or were of late: these
        are not to be written. A deletion marked later finds the writes, or they find it.
        """

    async def alive(self, tokens: Sequence[str]) -> None:
        """Say that writes still go on, those that nobody has ended."""

    async def end(self, tokens: Sequence[str]) -> None:
        """Forget writes: they came to nothing, or all that follows from them is done."""

    async def stray(self, writes: Sequence[Write]) -> None:
        """Write down that requests of these writes may still arrive, for which nobody waits.

        It is so from now on until `stray_token` of the document is ended.
        """

    async def strays(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Writes that may still arrive, written down so long ago."""

    async def begun(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Writes that nobody has observed and nobody has begun again for so long."""

    async def unlisted(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Observed writes of results that their runs' documents do not name."""

    async def mark(self, deletion: Deletion) -> None:
        """Write down a deletion, or more of one."""

    async def marked(self, older_than_s: float, key: Key | None = None) -> list[Deletion]:
        """Deletions that are not done, and that nobody has marked for so long."""

    async def unmark(self, key: Key, *, free: bool = False) -> None:
        """Say that a deletion is done. `free`: its id may be taken again."""

    def held(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold the lock `name` inside, if nobody does; say whether it is held."""
