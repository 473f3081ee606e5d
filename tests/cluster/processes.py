"""A cluster of real processes on this machine: replicas of RunService, a gateway, engines.

    async with a_cluster(tmp_path, replicas=2, database=True, bell=True) as cluster:
        await cluster.replicas[0].kill()

Every process is the program that operators run, `python -m gimle.asgard.cli serve ...`, on a free
port that it keeps over restarts. What it says goes to a file, shown when a test fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import orjson
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conftest import free_port, index_file_is_whole
from tests.engines import postgres, redis
from tests.engines.tying import tied

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
RUN_SERVICE = "gimle.asgard.v1.RunService"
# Channels of one process share connections otherwise; each is to have its own.
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.service_config", '{"loadBalancingPolicy":"round_robin"}'),
)


class ServiceProcess:
    """One process of Asgard: `asgard serve NAME` with `environ` in the file `log`."""

    def __init__(self, name: str, environ: dict[str, str], log: Path) -> None:
        self.name = name
        self.environ = environ
        self.log = log
        self.metrics_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def metrics(self) -> str:
        """Where its /metrics, /healthz and /readyz are."""
        return f"http://127.0.0.1:{self.metrics_port}"

    def launch(self) -> None:
        """Start it, without waiting until it is ready."""
        assert not self.alive, f"{self.name} runs already"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "MINIO_"))}
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gimle.asgard.cli", "serve", self.name],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.log.parent,
                env=clean | self.environ | {"ASGARD_METRICS_PORT": str(self.metrics_port)},
                start_new_session=True,  # a Ctrl-C at the keyboard is not for it
            )
        tied(self._process.pid)

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        await self.ready()

    async def ready(self, seconds: float = READY_WITHIN_S) -> None:
        """Wait until it serves; fail with its own words when it ends or is too slow."""
        deadline = time.monotonic() + seconds
        while not await self.serves():
            assert self.alive, f"{self.name} ended:\n{self.said()}"
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.said()}"
            await asyncio.sleep(0.05)

    async def serves(self) -> bool:
        """Whether it says that it takes calls."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its id, for a look at it."""
        assert self._process is not None
        return self._process.pid

    def signal(self, how: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended already."""
        assert self._process is not None
        self._process.send_signal(how)

    async def ended(self, seconds: float = STOPPED_WITHIN_S) -> int:
        """Wait until it has ended; its exit status, negative for a signal."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, seconds)

    async def stop(self) -> int:
        """End it in order (SIGTERM); its exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def restart(self, *, kill: bool = False) -> None:
        """End it, and start it again at the same address."""
        if kill:
            await self.kill()
        else:
            assert await self.stop() == 0, self.said()
        await self.start()

    def said(self) -> str:
        """All that it has written so far, over all its lives."""
        return self.log.read_text() if self.log.exists() else ""

    def logged(self) -> list[dict[str, Any]]:
        """The JSON lines of its log."""
        return [orjson.loads(line) for line in self.said().splitlines() if line.startswith("{")]


class Replica(ServiceProcess):
    """A replica of RunService at `address`; callers use its own certificate if it asks for one."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        super().__init__("run", environ | {"ASGARD_GRPC_PORT": str(self.port)}, log)

    async def serves(self) -> bool:
        return await self.health() == "SERVING"

    async def health(self, name: str = RUN_SERVICE) -> str:
        """What it says of a service or dependency of its; the name of the error when it cannot."""
        async with open_channel(self.address, self.environ) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                reply = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


class Gateway(ServiceProcess):
    """A gateway at `url`, over RunService at the addresses given."""

    def __init__(self, addresses: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        more = {
            "ASGARD_PORT": str(self.port),
            "ASGARD_RUN_ADDRESS": f"ipv4:{','.join(addresses)}",
        }
        super().__init__("gateway", environ | more, log)

    async def serves(self) -> bool:
        return await self.answers("/readyz")

    async def answers(self, path: str = "/healthz") -> bool:
        """Whether a GET is answered with 200."""
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                return (await client.get(self.url + path)).status_code == 200
            except httpx.HTTPError:
                return False


@dataclass
class Cluster:
    """Replicas and gateways over the same engines. `environ` is what all of them are told.

    `dsn` is the database when there is one, `redis` the bell's server, `storage` the folder or
    the s3:// address of the documents.
    """

    folder: Path
    storage: str
    environ: dict[str, str]
    dsn: str = ""
    redis: redis.Server | None = None
    replicas: list[Replica] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)

    @property
    def gateway(self) -> Gateway:
        """The first gateway."""
        return self.gateways[0]

    @property
    def processes(self) -> list[ServiceProcess]:
        """All of them."""
        return [*self.replicas, *self.gateways]

    def add_replica(self, **settings: Any) -> Replica:
        """One more replica, not started yet; `settings` such as drain_seconds=1 are its own."""
        log = self.folder / f"run-{len(self.replicas)}.log"
        replica = Replica(self.environ | variables(settings), log)
        self.replicas.append(replica)
        return replica

    def add_gateway(self, **settings: Any) -> Gateway:
        """One more gateway over the replicas that are there, not started yet."""
        log = self.folder / f"gateway-{len(self.gateways)}.log"
        addresses = [each.address for each in self.replicas]
        told = {k: v for k, v in self.environ.items() if not k.startswith("ASGARD_S3_")}
        gateway = Gateway(addresses, told | variables(settings), log)
        self.gateways.append(gateway)
        return gateway

    @asynccontextmanager
    async def client(self, gateway: Gateway | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client of a gateway, the first unless told."""
        url = (gateway or self.gateway).url
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
            yield client

    @asynccontextmanager
    async def stub(self, *replicas: Replica) -> AsyncIterator[Any]:
        """A RunServiceStub on these replicas (all unless told), each having its share of calls."""
        addresses = ",".join(each.address for each in replicas or self.replicas)
        async with open_channel(f"ipv4:{addresses}", self.environ) as channel:
            yield pb_grpc.RunServiceStub(channel)

    async def indexed(self) -> None:
        """Wait until the index is made: who watches before is told to begin anew at its end."""
        await eventually(self._is_indexed, READY_WITHIN_S, "that the index is made")

    async def _is_indexed(self) -> bool:
        dsn = self.environ.get("ASGARD_DATABASE_URL")
        if dsn is None:
            places = [Path(self.storage) / ".asgard", self.folder / "cache"]
            files = [file for place in places for file in place.rglob("index.sqlite3")]
            return any(map(index_file_is_whole, files))
        connection = await asyncpg.connect(dsn)
        try:
            state = await connection.fetchval("SELECT state FROM asgard.run_log_head")
        finally:
            await connection.close()
        return bool(state == "whole")

    async def end(self) -> None:
        """Kill whatever runs, and show what all have said (pytest does when a test fails)."""
        for process in self.processes:
            if process.alive:
                await process.kill()
            print(f"--- {process.log.name}:\n{process.said()}")


def open_channel(target: str, environ: dict[str, str]) -> grpc.aio.Channel:
    """A channel to every address of `target`, over TLS if `environ` names certificates."""
    named = [environ.get(f"ASGARD_TLS_{name}_FILE") for name in ("CA", "KEY", "CERT")]
    if not any(named):
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    authority, key, certificate = (Path(each).read_bytes() if each else None for each in named)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    return grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS)


def variables(settings: dict[str, Any]) -> dict[str, str]:
    """Settings as the environment has them: cache_seconds=0 is ASGARD_CACHE_SECONDS=0."""
    return {
        f"ASGARD_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.items()
    }


@asynccontextmanager
async def a_cluster(
    folder: Path,
    *,
    replicas: int = 1,
    gateways: int = 1,
    database: bool = False,
    bell: bool = False,
    s3: Any = None,
    started: bool = True,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """Replicas and gateways over engines of their own, all killed when the block ends.

    `database`: PostgreSQL, migrated and empty, instead of SQLite. `bell`: a Redis server of
    this cluster alone, so that it may be stopped. `s3`: a Store (tests/engines/minio.py,
    versitygw.py); a new bucket of it then holds the documents instead of a folder. `started`:
    whether all are started and waited for, and the index until it is made. `settings` are told
    to every process.
    """
    given = {"durability": "relaxed", "drain_seconds": 5, "log_format": "json", "log_level": "info"}
    environ = variables(given | settings)
    storage = str(folder / "storage")
    if s3 is not None:
        storage = f"s3://{await asyncio.to_thread(s3.bucket)}/asgard"
        # Each test has a cache of its own, as each machine has.
        environ |= s3.variables | {"XDG_CACHE_HOME": str(folder / "cache")}
    cluster = Cluster(folder, storage, environ)
    cluster.environ["ASGARD_STORAGE"] = storage
    if database:
        cluster.dsn = await postgres.database_of(folder)
        cluster.environ["ASGARD_DATABASE_URL"] = cluster.dsn
    if bell:
        cluster.redis = await asyncio.to_thread(redis.Server)
        cluster.environ["ASGARD_REDIS_URL"] = cluster.redis.url
    try:
        for _ in range(replicas):
            cluster.add_replica()
        for _ in range(gateways):
            cluster.add_gateway()
        if started:
            for process in cluster.processes:
                process.launch()
            for process in cluster.processes:
                await process.ready()
            await cluster.indexed()
        yield cluster
    finally:
        await cluster.end()
        if cluster.redis is not None:
            await asyncio.to_thread(cluster.redis.remove)
        if database:
            postgres.give_back(folder)


async def asgard(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `asgard` to its end, with no settings but those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "MINIO_"))}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gimle.asgard.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=clean | environ,
    )


async def eventually(
    condition: Callable[[], Awaitable[Any]], seconds: float = 60.0, what: str = "it"
) -> Any:
    """Wait until `condition` answers something true, and answer that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.02)
