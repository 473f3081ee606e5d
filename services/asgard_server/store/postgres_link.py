"""The connections to PostgreSQL, and what its errors mean to those who use an index."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import asyncpg
from gimle.asgard.core.errors import (
    AsgardError,
    InvalidFieldError,
    StorageFullError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    Connection = (
        asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    )
    Pool = asyncpg.Pool[asyncpg.Record]

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0
LOCK_TIMEOUT_MS = 2_000

_SETTINGS = {
    "application_name": "asgard",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "jit": "off",  # it costs more than any statement of ours takes
}

_PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}

# The connection broke, or the server is stopping or starting: nothing is wrong with the request.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of an operation
    ConnectionError,
)


def place_of(dsn: str) -> str:
    """What a database is called in messages: its address without user, password and options."""
    parts = urlsplit(dsn)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextlib.contextmanager
def errors_of_the_port(place: str) -> Iterator[None]:
    """Turn what PostgreSQL and the network say into the port's errors."""
    try:
        yield
    except AsgardError:
        raise
    except asyncpg.CharacterNotInRepertoireError as error:
        raise InvalidFieldError("request", "has a text with a NUL character", "leave it out") from (
            error
        )
    except asyncpg.DiskFullError as error:
        raise StorageFullError(place) from error
    except asyncpg.LockNotAvailableError as error:
        mend = f"others held its rows for {LOCK_TIMEOUT_MS / 1000:g} s; try again"
        raise StorageUnavailableError(place, mend) from error
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise StorageUnavailableError(
            place, "its tables are not there: run `asgard migrate`"
        ) from (error)
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        mend = f"it refuses us ({error}); check user, password, database and rights"
        raise StorageUnavailableError(place, mend) from error
    except (
        *LOST,
        asyncpg.DeadlockDetectedError,
        asyncpg.InsufficientResourcesError,
        asyncpg.OperatorInterventionError,
        asyncpg.ReadOnlySQLTransactionError,
        OSError,
        TimeoutError,
    ) as error:
        mend = f"it does not answer as it should ({error or type(error).__name__}); try again"
        raise StorageUnavailableError(place, mend, passing=True) from error


async def _prepare(connection: Connection) -> None:
    # Who was told that a change has a revision must find it after a crash. Other settings of
    # an administrator (replicas that must have it too) are kept.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )


class _Plain(asyncpg.Connection):
    """A connection that nobody changes the session of: nothing to reset when it is given back."""

    def get_reset_query(self) -> str:
        """Nothing: a round trip for each use of the pool would be a third of what many cost."""
        return ""


class Link:
    """A pool of connections to one database.

    `read` tries once more on a fresh connection, for a server that was restarted meanwhile.
    """

    def __init__(self, dsn: str, pool: Pool) -> None:
        self.place = place_of(dsn)
        self._dsn = dsn
        self._pool = pool

    @classmethod
    async def open(
        cls,
        dsn: str,
        connections: int,
        *,
        planned_once: bool = False,
        by_index: bool = False,
        search_path: str | None = None,
    ) -> Link:
        """Connect. Raises `StorageUnavailableError`.

        `planned_once`: a plan serves all arguments of a statement. To plan anew what writes a
        few rows costs PostgreSQL more than to write them; for a search it may be worth it.
        `by_index`: no statement reads a whole table, and what was planned while a table was small
        does not do so either when it has grown. `search_path`: the schemas of tables whose names
        say none.
        """
        settings = _SETTINGS | (_PLANNED_ONCE if planned_once else {})
        if by_index:
            settings |= {"enable_seqscan": "off"}
        if search_path is not None:
            settings |= {"search_path": search_path}
        with errors_of_the_port(place_of(dsn)):
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=connections,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                init=_prepare,
                connection_class=_Plain,
                server_settings=settings,
            )
        return cls(dsn, pool)

    async def connect(self, *, planned_once: bool = False) -> Connection:
        """A connection beside the pool, for whoever keeps one. Raises what asyncpg does."""
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_SETTINGS | (_PLANNED_ONCE if planned_once else {}),
        )
        await _prepare(connection)
        return connection

    async def close(self) -> None:
        """Close all connections, when what runs on them has ended, but within ten seconds."""
        try:
            async with asyncio.timeout(10):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """Turn what the database says inside into the port's errors."""
        return errors_of_the_port(self.place)

    @contextlib.asynccontextmanager
    async def acquired(self) -> AsyncIterator[Connection]:
        """A connection of one's own. Raises what asyncpg does."""
        # A limit of time costs a task, and one that is connected and idle is there at once.
        limit = None if self._pool.get_idle_size() else CONNECT_TIMEOUT_S
        async with self._pool.acquire(timeout=limit) as connection:
            try:
                yield connection
            except asyncpg.InternalClientError:
                connection.terminate()  # or the next to ask the pool would get it
                raise

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of one's own. Raises `StorageUnavailableError`, also for what is inside."""
        with self.errors():
            async with self.acquired() as connection:
                yield connection

    async def lock(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""
        number = zlib.crc32(name.encode())
        async with self.connection() as connection:
            got = await connection.fetchval("SELECT pg_try_advisory_lock($1)", number)
            try:
                yield bool(got)
            finally:
                if got:
                    await connection.execute("SELECT pg_advisory_unlock($1)", number)

    async def read(self, job: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a job that may be run twice. Raises `StorageUnavailableError`."""
        with self.errors():
            try:
                async with self.acquired() as connection:
                    return await job(connection)
            except LOST:
                async with self.acquired() as connection:
                    return await job(connection)


class Kept:
    """A connection of one task's own, made when it is first needed, and anew when it has broken.

    What a pool does to lend a connection and take it back costs a third of what many short
    statements cost. To be used by one at a time.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._connection: Connection | None = None

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[Connection]:
        """The connection. Raises what asyncpg does."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._link.connect(planned_once=True)
        connection = self._connection
        try:
            yield connection
        except BaseException as error:
            # What PostgreSQL refuses leaves the connection as it was; else nobody knows.
            if not isinstance(error, asyncpg.PostgresError) or isinstance(error, LOST):
                self._connection = None
                connection.terminate()
            raise

    async def close(self) -> None:
        """Close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=CONNECT_TIMEOUT_S)
            except (*LOST, TimeoutError, OSError):
                connection.terminate()
