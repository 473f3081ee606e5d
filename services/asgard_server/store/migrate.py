"""The schema in PostgreSQL: numbered SQL files, applied once each, and what a release can use.

A file `migrations/postgres/NNNN_name.sql` is one transaction. Its line `-- needs: N` says that
releases which do not know migration N cannot use the schema any more; additions leave N as it
was, so that the previous release works on while the next one is rolled out.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog
from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.store.postgres_link import errors_of_the_port, place_of

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

FOLDER = Path(__file__).parent / "migrations" / "postgres"
OLDEST_SERVER = 130_000
# The lock under which schemas change; any number will do that nobody else of us uses.
_LOCK = 0x41736761_72640001
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_NEEDS = re.compile(r"^-- needs: (\d+)$", re.MULTILINE)

log = structlog.get_logger()


class SchemaError(StorageUnavailableError):
    """The schema of a database is not one that this release can use."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema. `needs`: the migration that a release must know to use it."""

    number: int
    name: str
    needs: int
    sql: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did: names of steps applied, and why search has no index, if so."""

    applied: tuple[str, ...]
    search_problem: str | None


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All steps that this release knows, in order, numbered from 1 without a gap."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        name, sql = _NAME.fullmatch(path.name), path.read_text()
        needs = _NEEDS.search(sql)
        number = len(found) + 1
        if name is None or needs is None or int(name[1]) != number:
            raise ValueError(
                f"{path.name} is not migration {number:04}: call it {number:04}_what.sql and give"
                " it a line `-- needs: N`"
            )
        found.append(Migration(number, path.stem, int(needs[1]), sql))
    return found


async def migrate(dsn: str, folder: Path = FOLDER) -> Migrated:
    """Bring the schema of a database up to this release; doing it again changes nothing.

    Several may call it at once: they wait for each other. Raises `StorageUnavailableError`
    when the database cannot be used, `SchemaError` when its schema is too new for this release.
    """
    place = place_of(dsn)
    with errors_of_the_port(place):
        connection = await asyncpg.connect(dsn, server_settings={"lock_timeout": "60s"})
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            known = migrations(folder)
            applied = await _apply(connection, known, place)
            return Migrated(tuple(applied), await _index_words(connection))
        finally:
            await connection.close()


async def check(connection: Connection, place: str, folder: Path = FOLDER) -> None:
    """Raise `SchemaError`, saying what to do, unless this release can use the schema."""
    known = migrations(folder)
    version, needs = await _state(connection)
    if version < len(known):
        raise SchemaError(
            place,
            f"its schema is at migration {version}, and this release needs {len(known)}:"
            " run `asgard migrate`, then start again",
        )
    _refuse_newer(version, needs, len(known), place)


async def wait(dsn: str, seconds: float, folder: Path = FOLDER) -> None:
    """Return when this release can use the schema of a database; change nothing.

    For processes that start beside the one that migrates. Raises what `check` does, or
    `StorageUnavailableError`, when that is still so after `seconds`.
    """
    place = place_of(dsn)
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            with errors_of_the_port(place):
                connection = await asyncpg.connect(dsn, timeout=10)
                try:
                    return await check(connection, place, folder)
                finally:
                    await connection.close()
        except StorageUnavailableError:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(1)


def _refuse_newer(version: int, needs: int, known: int, place: str) -> None:
    if needs > known:
        raise SchemaError(
            place,
            f"its schema is at migration {version}, which releases that know only {known} cannot"
            " use: install the release that migrated it, or restore a backup from before",
        )


async def _state(connection: Connection) -> tuple[int, int]:
    """The newest migration applied, and the one that a release must know; 0 for none."""
    table = await connection.fetchval("SELECT to_regclass('asgard.migrations')::text")
    if table is None:
        return 0, 0
    ((version, needs),) = await connection.fetch(
        "SELECT coalesce(max(number), 0), coalesce(max(needs), 0) FROM asgard.migrations"
    )
    return version, needs


async def _apply(connection: Connection, known: list[Migration], place: str) -> list[str]:
    server = int(await connection.fetchval("SHOW server_version_num"))
    if server < OLDEST_SERVER:
        raise SchemaError(place, f"it is PostgreSQL {server // 10_000}: use 13 or newer")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise SchemaError(place, f"its encoding is {encoding}: make it with ENCODING 'UTF8'")
    version, needs = await _state(connection)
    _refuse_newer(version, needs, len(known), place)
    applied: list[str] = []
    for step in known[version:]:
        async with connection.transaction():
            if version == 0 and not applied:
                # Somebody with more rights may have made the schema for us.
                if await connection.fetchval("SELECT to_regnamespace('asgard') IS NULL"):
                    await connection.execute("CREATE SCHEMA asgard")
                await connection.execute(
                    "CREATE TABLE asgard.migrations (number integer PRIMARY KEY,"
                    " name text NOT NULL, needs integer NOT NULL,"
                    " applied_at timestamptz NOT NULL DEFAULT now())"
                )
            await connection.execute(step.sql)
            await connection.execute(
                "INSERT INTO asgard.migrations VALUES ($1, $2, $3)",
                *(step.number, step.name, step.needs),
            )
        applied.append(step.name)
    return applied


async def _index_words(connection: Connection) -> str | None:
    """Make the trigram index of search where the server has what it takes; say why not.

    Not a numbered step: search finds the same without it, by looking at each run, and a
    server may be given the extension later.
    """
    if await connection.fetchval("SELECT to_regclass('asgard.runs_by_words') IS NOT NULL"):
        return None
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            schema = await connection.fetchval(
                "SELECT quote_ident(nspname) FROM pg_extension e"
                " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_trgm'"
            )
            await connection.execute(
                f"CREATE INDEX runs_by_words ON asgard.runs USING gin (text {schema}.gin_trgm_ops)"
            )
    except (
        asyncpg.UndefinedFileError,
        asyncpg.FeatureNotSupportedError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        problem = (
            f"search works, but looks at each run ({error}): install the extension pg_trgm"
            " (Debian: postgresql-contrib), have its `CREATE EXTENSION pg_trgm` run by"
            " somebody who may, and run `asgard migrate` again"
        )
        log.warning("no index for search", problem=problem)
        return problem
    return None
