"""What is to be done in other services: rows added with their cause, and then delivered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from asgard_server.outbox.delivery import Word
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql.session import Database, Session


async def leave(
    session: Session,
    kind: str,
    key: str,
    body: Mapping[str, object],
    at: int,
    due: int | None = None,
) -> None:
    """Leave word of something that is to be done from `due` on (microseconds; `at`, now, if None).

    What has the same key is done in the order in which it was left.
    """
    await session.run(
        "INSERT INTO outbox (kind, key, body, created_at, due_at) VALUES (?, ?, ?, ?, ?)",
        kind,
        key,
        json.dumps(body, separators=(",", ":")),
        at,
        at if due is None else due,
    )


class Aside(NamedTuple):
    """A word that its receiver has refused for good, with the last answer."""

    number: int
    kind: str
    key: str
    body: Mapping[str, object]
    attempts: int
    created_at: datetime
    aside_at: datetime
    problem: str


class SqlOutbox:
    """The port `Outbox` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: datetime, limit: int) -> list[Word]:
        """What is due, of each key the first one that was not set aside."""

        async def due(session: Session) -> list[Word]:
            rows = await session.all(
                "SELECT number, kind, key, body, attempts FROM outbox AS o WHERE due_at <= ?"
                " AND aside_at IS NULL AND NOT EXISTS (SELECT 1 FROM outbox AS p"
                " WHERE p.key = o.key AND p.number < o.number AND p.aside_at IS NULL)"
                " ORDER BY due_at, number LIMIT ?",
                *(micros(now), limit),
            )
            return [
                Word(number, kind, key, json.loads(body), attempts)
                for number, kind, key, body, attempts in rows
            ]

        return await self._database.read(due)

    async def done(self, word: Word) -> None:
        """Forget one that was done, and those of its key that were set aside before it."""

        async def done(session: Session) -> None:
            await session.run(
                "DELETE FROM outbox WHERE number = ?"
                " OR (key = ? AND kind = ? AND number < ? AND aside_at IS NOT NULL)",
                *(word.number, word.key, word.kind, word.number),
            )

        await self._database.write(done)

    async def later(self, number: int, due_at: datetime, problem: str) -> None:
        """Try one again, but not before then."""

        async def later(session: Session) -> None:
            await session.run(
                "UPDATE outbox SET due_at = ?, attempts = attempts + 1, problem = ?"
                " WHERE number = ?",
                *(micros(due_at), problem[:2_000], number),
            )

        await self._database.write(later)

    async def set_aside(self, number: int, at: datetime, problem: str) -> None:
        """Keep one that will never be taken, and deliver what is behind it."""

        async def set_aside(session: Session) -> None:
            await session.run(
                "UPDATE outbox SET aside_at = ?, attempts = attempts + 1, problem = ?"
                " WHERE number = ?",
                *(micros(at), problem[:2_000], number),
            )

        await self._database.write(set_aside)

    async def aside(self) -> dict[str, int]:
        """How many of each kind were set aside and are there."""

        async def aside(session: Session) -> dict[str, int]:
            rows = await session.all(
                "SELECT kind, count(*) FROM outbox WHERE aside_at IS NOT NULL GROUP BY kind"
            )
            return {row[0]: row[1] for row in rows}

        return await self._database.read(aside)

    # For people ---------------------------------------------------------------------------

    async def list_aside(self, behind: int, limit: int) -> list[Aside]:
        """What was set aside in the order in which it was left, those > `behind`."""

        async def list_aside(session: Session) -> list[Aside]:
            rows = await session.all(
                "SELECT number, kind, key, body, attempts, created_at, aside_at, problem"
                " FROM outbox WHERE aside_at IS NOT NULL AND number > ? ORDER BY number LIMIT ?",
                *(behind, limit),
            )
            return [
                Aside(
                    number, kind, key, json.loads(body), attempts, moment(at), moment(aside), said
                )
                for number, kind, key, body, attempts, at, aside, said in rows
            ]

        return await self._database.read(list_aside)

    async def retry(self, numbers: Sequence[int], now: datetime) -> int:
        """Deliver these again that were set aside, all without numbers; answer how many."""

        async def retry(session: Session) -> int:
            again = "UPDATE outbox SET aside_at = NULL, attempts = 0, due_at = ?"
            again += " WHERE aside_at IS NOT NULL"
            if not numbers:
                return await session.run(again, micros(now))
            done = [
                await session.run(f"{again} AND number = ?", micros(now), one) for one in numbers
            ]
            return sum(done)

        return await self._database.write(retry)
