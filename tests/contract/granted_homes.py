"""Uploads of arrays over each store: the insides of RunService, and grants by real gRPC."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import grpc
import httpx
from asgard_server.blob.lending import Lender
from asgard_server.blob.lending_handlers import GrantHandlers
from asgard_server.processes.blob_service import GRANT_SERVICE, _bytes
from asgard_server.processes.engines import Engines, open_engines
from asgard_server.processes.page_server import PageServer, served
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.run.arriving import Arriving
from asgard_server.run.granting import Granting
from asgard_server.run.grants import Grant
from asgard_server.run.observe import Observer
from asgard_server.run.sweeping import Sweeper
from asgard_server.settings import S3Prefix, Settings
from asgard_server.settings.places import endpoint
from asgard_server.store.rpc_grants import RpcGrants
from gimle.asgard.v1 import grant_service_pb2_grpc
from starlette.applications import Starlette

from tests.contract.blob_homes import Clock
from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
HOMES = ("folder", *STORES)

__all__ = ["HOMES", "Home", "PageServer", "home"]


@dataclass(frozen=True)
class Home:
    """RunService's uploads of arrays over one store, and a client that uses what is granted."""

    granting: Granting
    arriving: Arriving
    sweeper: Sweeper
    engines: Engines
    observer: Observer
    clock: Clock
    http: httpx.AsyncClient
    left: Callable[[], list[str]]
    put: Callable[[str, bytes], None]

    async def send(self, grant: Grant, body: bytes) -> int:
        """Do what a grant allows; answer the status, 400 where the store hangs up instead."""
        headers = {k: v for k, v in grant.headers.items() if k != "content-length"}
        try:
            answer = await self.http.request(grant.method, grant.url, content=body, headers=headers)
        except httpx.TransportError:
            return 400
        return answer.status_code


@asynccontextmanager
async def home(name: str, folder: Path) -> AsyncIterator[Home]:
    """Open the home `name`; what it keeps on this machine lies in `folder`."""
    clock = Clock()
    async with AsyncExitStack() as stack:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings, left, put = _settings(name, folder)
        engines = await stack.enter_async_context(open_engines(settings))
        pool = stack.enter_context(ThreadPoolExecutor(4))
        opened = await _bytes(settings, pool, lambda: address, stack)
        if opened.endpoint is not None:
            app = Starlette(routes=[opened.endpoint.route()])
            await stack.enter_async_context(served(app, listener))
        else:
            listener.close()
        add = grant_service_pb2_grpc.add_GrantServiceServicer_to_server
        service = Service(GRANT_SERVICE, add, GrantHandlers(Lender(opened.held, opened.grants)))
        server = create_server([service], Health([GRANT_SERVICE]))
        inside = f"unix-abstract:granted-{token_hex(8)}"
        server.add_insecure_port(inside)
        await server.start()
        stack.push_async_callback(server.stop, 1)
        channel = grpc.aio.insecure_channel(inside)
        stack.push_async_callback(channel.close)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        observer = Observer(engines.index, engines.feed)
        grants, intents = RpcGrants(channel, "here"), engines.intents
        granting = Granting(grants, intents, engines.documents, engines.index, clock)
        sweeper = Sweeper(grants, intents, engines.documents, clock)
        arriving = Arriving(grants, intents, sweeper, clock)
        yield Home(granting, arriving, sweeper, engines, observer, clock, http, left, put)


def _settings(
    name: str, folder: Path
) -> tuple[Settings, Callable[[], list[str]], Callable[[str, bytes], None]]:
    if name == "folder":

        def left() -> list[str]:
            lies = [*folder.glob("files/*"), *folder.glob(".asgard/granted/*.json")]
            lies += folder.glob(".asgard/uploads/*/*")
            return sorted(path.name for path in lies)

        def put(path: str, body: bytes) -> None:
            (folder / path).write_bytes(body)

        return Settings(storage=folder, durability="relaxed"), left, put
    store = STORES[name]()
    bucket = store.bucket()

    def in_bucket() -> list[str]:
        keys = [
            key
            for part in ("files/", ".asgard/granted/")
            for key in store.keys(bucket, f"place/{part}")
        ]
        going_on = store.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return sorted(key.rpartition("/")[2] for key in [*keys, *(u["Key"] for u in going_on)])

    def put_object(path: str, body: bytes) -> None:
        store.client().put_object(Bucket=bucket, Key=f"place/{path}", Body=body)

    settings = Settings(
        storage=S3Prefix(bucket, "place"),
        s3_endpoint=endpoint("ASGARD_S3_ENDPOINT", store.endpoint),
        s3_access_key=ACCESS_KEY,
        s3_secret_key=SECRET_KEY,
        s3_region="us-east-1",
    )
    return settings, in_bucket, put_object
