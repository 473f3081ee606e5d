"""An IdentityService in this loop, and a service elsewhere that asks it who calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from asgard_server.auth.callers import caller
from asgard_server.processes.identity_service import Identity, open_identity
from asgard_server.processes.who import who_calls
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.settings import Settings
from asgard_server.store.sql.sqlite import SqliteSessions
from asgard_server.store.sqlite_database import SqliteDatabase
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc

SERVICE_KEY = "known to the services of this test"


@dataclass
class Running:
    """IdentityService at `address`; `stub` calls it as whoever its metadata says."""

    address: str
    identity: Identity
    stub: Any
    server: grpc.aio.Server

    async def key(self, handle: str = "@local", **wish: Any) -> tuple[str, str]:
        """Make a key of a user; answer its id and itself."""
        answer = await self.stub.CreateApiKey(
            pb.CreateApiKeyRequest(name="a key", user_id=handle, **wish), metadata=AS_SERVICE
        )
        return answer.api_key.key_id, answer.key

    async def me(self, *headers: tuple[str, str]) -> Any:
        """Ask who calls."""
        return (await self.stub.GetMe(pb.GetMeRequest(), metadata=headers)).principal


AS_SERVICE = (("x-asgard-service-key", SERVICE_KEY),)


def shown(token: str) -> tuple[str, str]:
    """The header of a key or token."""
    return ("authorization", f"Bearer {token}")


@asynccontextmanager
async def identity_service(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """Serve IdentityService over a database in `folder`, on a free port."""
    given = Settings(**{"service_key": SERVICE_KEY, "auth": "required", **settings})
    database = await SqliteDatabase.open(folder / "asgard.sqlite3")
    identity = open_identity(given, SqliteSessions(database))
    server = create_server(
        [identity.service], Health([identity.service.name]), authenticate=identity.who.authenticate
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        stub: Any = pb_grpc.IdentityServiceStub(channel)
        yield Running(f"127.0.0.1:{port}", identity, stub, server)
    finally:
        await channel.close()
        await server.stop(None)
        await database.close()


class Telling:
    """A service that answers who calls, once and again and again."""

    async def once(self, request: bytes, context: Any) -> bytes:
        return repr(caller()).encode()

    async def for_ever(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield repr(caller()).encode()
        await asyncio.Event().wait()

    async def written(self, request: bytes, context: Any) -> None:
        await context.write(repr(caller()).encode())
        await asyncio.Event().wait()


@asynccontextmanager
async def telling_server(
    credentials: grpc.ServerCredentials | None = None, **settings: Any
) -> AsyncIterator[int]:
    """Serve `Telling` in a process without IdentityService; answer its port."""
    given = Settings(**{"service_key": SERVICE_KEY, "auth": "required", **settings})
    telling = Telling()
    handlers: dict[str, Any] = {
        "Once": grpc.unary_unary_rpc_method_handler(telling.once),
        "ForEver": grpc.unary_stream_rpc_method_handler(telling.for_ever),
        "Written": grpc.unary_stream_rpc_method_handler(telling.written),
    }

    def add(servicer: Any, server: Any) -> None:
        server.add_registered_method_handlers("test.Telling", handlers)

    async with AsyncExitStack() as stack:
        who = who_calls(given, stack)
        server = create_server(
            [Service("test.Telling", add, telling)],
            Health(["test.Telling"]),
            authenticate=who.authenticate,
        )
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        stack.push_async_callback(server.stop, None)
        yield port


@asynccontextmanager
async def telling_service(**settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    """Serve `Telling`; answer a channel to it."""
    async with (
        telling_server(**settings) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


async def told(channel: grpc.aio.Channel, *headers: tuple[str, str]) -> str:
    """Whom `Telling` takes the caller for."""
    method: Any = channel.unary_unary("/test.Telling/Once")
    answer: bytes = await method(b"", metadata=headers)
    return answer.decode()
