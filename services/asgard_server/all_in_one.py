"""The embedded shape: every service and the page in one process, over one folder.

Here, and nowhere else, adapters are chosen and things meet. Calls between the page's
gateway and the service are gRPC as everywhere, over an abstract Unix socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from gimle.asgard.core.folder import Folder
from gimle.asgard.v1 import run_service_pb2, run_service_pb2_grpc

from asgard_server.feed.memory import MemoryFeed
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.run.handlers import RunHandlers
from asgard_server.run.observe import Observer
from asgard_server.run.scan import Noticer
from asgard_server.run.watch import RunWatch
from asgard_server.settings import Settings
from asgard_server.store.folder import FolderDocuments
from asgard_server.store.mounts import index_path, is_network
from asgard_server.store.sqlite import SqliteRunIndex

if TYPE_CHECKING:  # loaded when the page is served: the gRPC side does not wait for it
    from starlette.applications import Starlette

    from asgard_server.page_server import PageServer

RUN_SERVICE = run_service_pb2.DESCRIPTOR.services_by_name["RunService"].full_name

GRPC_PORT = 50051

# Writers that wait for the disk (fsync) do so side by side; those that do not only take the
# interpreter from each other.
_WRITERS = {"durable": 8, "relaxed": 4}
_DRAWERS = 2

# How long a client of the page may leave what it was sent unacknowledged.
_STUCK_MS = 60_000

# How often the place is asked whether it is still there.
_LOOK_SECONDS = 1.0

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class PortBusyError(OSError):
    """Somebody else listens on `port` of `host`."""

    def __init__(self, host: str, port: int, option: str) -> None:
        super().__init__(errno.EADDRINUSE, f"port {port} of {host} is in use")
        self.host = host
        self.port = port
        self.option = option


class AddressError(OSError):
    """`host`, or this port of it, cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a server that is ready can be found."""

    page: str
    grpc: str
    storage: Path


async def serve(
    settings: Settings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    stopping: asyncio.Event | None = None,
) -> None:
    """Serve `settings.storage` until SIGTERM, SIGINT or `stopping`.

    Then calls that have begun are finished, for `drain_seconds` at most. Raises
    `PortBusyError`, `AddressError` and `StorageUnavailableError` before anything is served.
    """
    stopping = stopping or asyncio.Event()
    with _stopped_by_signals(stopping), _listen(settings.host, settings.port) as listener:
        async with run_service(settings) as service:
            app, http = _page(settings, service)
            serving = asyncio.create_task(http.serve([listener]))
            await _first(http.up, (), serving)
            if ready is not None and not serving.done():
                ready(Addresses(_url(listener), service.address, settings.storage))
            failed = await _first(stopping, service.tasks, serving)
            # First, so that the gateway does not take the end of its watch for a breach.
            app.state.stop_streams()
            await service.drain()
            http.should_exit = True
            await serving
        if failed is not None:
            raise failed


@dataclass(frozen=True, slots=True)
class RunService:
    """RunService as it runs in this process.

    `reconciled` waits until the index has once agreed with all documents, `drain` ends
    watches and says NOT_SERVING: what has begun otherwise is still finished.
    """

    folder: Folder
    address: str
    channel: grpc.aio.Channel
    tasks: tuple[asyncio.Task[None], ...]
    reconciled: Callable[[], Coroutine[Any, Any, None]]
    drain: Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def run_service(settings: Settings) -> AsyncIterator[RunService]:
    """RunService over a folder, served by gRPC until the block ends."""
    async with AsyncExitStack() as stack:
        writers = stack.enter_context(
            ThreadPoolExecutor(_WRITERS[settings.durability], "asgard-folder")
        )
        drawers = stack.enter_context(ThreadPoolExecutor(_DRAWERS, "asgard-draw"))
        folder = await asyncio.to_thread(Folder, settings.storage, durability=settings.durability)
        network = is_network(Path(folder.path))
        documents = FolderDocuments(folder, writers, network=network)
        index = await SqliteRunIndex.open(
            index_path(Path(folder.path), folder.storage_id, network=network),
            documents.read_now,
            storage_id=folder.storage_id,
            stamp=documents.stamp_now,
        )
        stack.push_async_callback(index.close)
        feed = MemoryFeed()
        observer = Observer(index, feed)
        watch = RunWatch(index, feed, _now)
        noticer = Noticer(documents, index, observer)
        handlers = RunHandlers(documents, index, observer, watch, drawers, _now)
        health = Health([RUN_SERVICE])
        server = create_server(
            [
                Service(
                    RUN_SERVICE,
                    run_service_pb2_grpc.add_RunServiceServicer_to_server,
                    handlers,
                )
            ],
            health,
        )
        inside = f"unix-abstract:asgard-{os.getpid()}-{secrets.token_hex(8)}"
        server.add_insecure_port(inside)
        port = _grpc_port(server, settings)
        await health.set(True)
        await server.start()
        stack.push_async_callback(server.stop, settings.drain_seconds)
        channel = grpc.aio.insecure_channel(inside, options=_CHANNEL_OPTIONS)
        stack.push_async_callback(channel.close)
        tasks = tuple(
            asyncio.create_task(work, name=name)
            for name, work in (
                ("watch", watch.run()),
                ("noticer", noticer.run()),
                ("look", _look(noticer, health)),
            )
        )
        stack.push_async_callback(_cancelled, tasks)

        async def drain() -> None:
            await health.stop()
            watch.stop()

        address = f"{_in_url(settings.host)}:{port}"
        yield RunService(folder, address, channel, tasks, noticer.reconciled, drain)


def _page(settings: Settings, service: RunService) -> tuple[Starlette, PageServer]:
    from asgard_server.gateway.app import GatewayOptions, create_app
    from asgard_server.page_server import PageServer

    app = create_app(
        service.channel,
        GatewayOptions(
            allowed_hosts=settings.allowed_hosts,
            cache_seconds=settings.cache_seconds,
            storage_id=service.folder.storage_id or "",
            version=version("asgard-server"),
        ),
    )
    return app, PageServer(app, drain_seconds=settings.drain_seconds)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. Without it (uvloop sets it, asyncio's own loop does not for such a
    # listener) an answer in two writes waits 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Inherited too: a browser that takes nothing (a closed laptop) is let go by the kernel.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusyError(host, port, "--port") from None
        raise AddressError(error.errno, error.strerror) from None
    listener.setblocking(False)
    return listener


def _grpc_port(server: grpc.aio.Server, settings: Settings) -> int:
    host = _in_url(settings.host)
    wanted = settings.grpc_port
    port = GRPC_PORT if wanted is None else wanted
    # gRPC complains of a busy port on standard error, in its own words: a socket asks first.
    if port and not _is_free(settings.host, port):
        if wanted is not None:
            raise PortBusyError(settings.host, wanted, "--grpc-port")
        port = 0
    try:
        return server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:  # taken since it was asked for
        if wanted is not None:
            raise PortBusyError(settings.host, wanted, "--grpc-port") from None
    return server.add_insecure_port(f"{host}:0")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may be bound to one port; only one of them may listen.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise AddressError(error.errno, error.strerror) from None
    return True


async def _look(noticer: Noticer, health: Health) -> None:
    """Say NOT_SERVING while the place is gone, and SERVING when it is back."""
    serving = True
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if (noticer.problem is None) != serving:
            serving = not serving
            await health.set(serving)


async def _first(
    stopping: asyncio.Event, tasks: tuple[asyncio.Task[None], ...], serving: asyncio.Task[None]
) -> BaseException | None:
    """Wait until somebody wants to stop; answer the error of a task that ended by itself."""
    waiting = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait((waiting, serving, *tasks), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return next((task.exception() for task in done if task is not waiting), None)


async def _cancelled(tasks: tuple[asyncio.Task[None], ...]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _stopped_by_signals(stopping: asyncio.Event) -> Any:
    """The first signal drains, the second one ends the process as it would without us."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        loop.remove_signal_handler(number)
        stopping.set()

    taken = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError, RuntimeError):  # not in the main thread: its owner stops us
            loop.add_signal_handler(number, stop, number)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else _in_url(host)  # noqa: S104 - compared, not bound
    return f"http://{shown}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _now() -> datetime:
    return datetime.now(UTC)
