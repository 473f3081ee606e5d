"""Everything in one process: where it is to be seen, and the browser that sees it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from asgard_server.commands.failing import cannot_start
from asgard_server.processes import starting
from asgard_server.processes.listening import PortBusyError
from asgard_server.processes.saying import say_ready
from asgard_server.processes.starting import StartError
from asgard_server.settings import Settings

if TYPE_CHECKING:
    from asgard_server.all_in_one import Addresses
    from asgard_server.rpc.tracing import Tracer


def serve_all_services(settings: Settings, *, browser: bool) -> None:
    """Serve until told to stop; say where, and with `browser` open the page there.

    Where a monitor shows the same folder on this port already, that one is opened instead.
    """
    from asgard_server import all_in_one

    def ready(addresses: Addresses) -> None:
        _say(addresses, settings)
        if browser:
            _open(addresses.page)

    async def all_services(settings: Settings, tracer: Tracer | None) -> None:
        await all_in_one.serve(settings, ready=ready, tracer=tracer)

    try:
        starting.run(settings, all_services, service="all")
    except PortBusyError as busy:
        _busy(busy, settings, browser)
    except StartError as error:
        cannot_start(settings, "all", error)


def _say(addresses: Addresses, settings: Settings) -> None:
    words = [
        f"Asgard shows {addresses.storage}",
        f"  page and REST  {addresses.page}",
        f"  gRPC           {addresses.grpc}",
    ]
    if settings.listens_beyond_loopback and settings.auth == "local":
        words.append("  Everybody who reaches this address can read, change and delete runs.")
    say_ready(
        settings,
        "all",
        "\n".join([*words, "Ctrl-C stops it."]),
        page=addresses.page,
        grpc=addresses.grpc,
        storage=addresses.storage,
    )


def _busy(busy: PortBusyError, settings: Settings, browser: bool) -> None:
    """Use the monitor that has the port, if it shows this folder; else name the mend."""
    if busy.option == "--port" and isinstance(settings.storage, Path):
        page = f"http://localhost:{busy.port}"
        theirs = _storage_served(busy.host, busy.port)
        if theirs and theirs == _storage_id(settings.storage):
            typer.echo(f"A monitor already shows {settings.storage.resolve()}: {page}")
            if browser:
                _open(page)
            return
    cannot_start(settings, "all", starting.port_busy(busy))


def _storage_served(host: str, port: int) -> str:
    import http.client

    import orjson

    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": f"localhost:{port}"})
        answer = orjson.loads(connection.getresponse().read(65_536))
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    finally:
        connection.close()
    return str(answer.get("storage_id", "")) if isinstance(answer, dict) else ""


def _storage_id(storage: Path) -> str:
    import orjson

    try:
        metadata = orjson.loads((storage / ".asgard_metadata.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(metadata.get("storage_id", "")) if isinstance(metadata, dict) else ""


def _open(page: str) -> None:
    """Open the page, where there is a screen to open it on."""
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return
    # The browser may take its time: the server does not wait for it.
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
