"""What is to be done in other services: rows added with their cause, and then delivered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from asgard_server.outbox.delivery import Word
from asgard_server.store.blob_rows import micros
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


class SqlOutbox:
    """The port `Outbox` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: datetime, limit: int) -> list[Word]:
        """What is due, of each key the first one alone."""

        async def due(session: Session) -> list[Word]:
            rows = await session.all(
                "SELECT number, kind, key, body, attempts FROM outbox AS o WHERE due_at <= ?"
                " AND NOT EXISTS (SELECT 1 FROM outbox AS p"
                " WHERE p.key = o.key AND p.number < o.number) ORDER BY due_at, number LIMIT ?",
                *(micros(now), limit),
            )
            return [
                Word(number, kind, key, json.loads(body), attempts)
                for number, kind, key, body, attempts in rows
            ]

        return await self._database.read(due)

    async def done(self, number: int) -> None:
        """Forget one that was done."""

        async def done(session: Session) -> None:
            await session.run("DELETE FROM outbox WHERE number = ?", number)

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
