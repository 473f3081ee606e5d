"""`asgard monitor` and `asgard serve`: the server as commands of the SDK's `asgard`."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from gimle.asgard.core.errors import AsgardError

from asgard_server.settings import SettingError, Settings

if TYPE_CHECKING:
    from asgard_server.all_in_one import Addresses, PortBusyError

Storage = Annotated[
    Path | None, typer.Option("--storage", "-s", help="The folder of the runs [default: ./storage]")
]
Port = Annotated[
    int | None, typer.Option("--port", "-p", help="The port of the page [default: 8000]")
]
Host = Annotated[
    str | None,
    typer.Option("--host", help="The address to listen on; others than loopback let others in"),
]
GrpcPort = Annotated[
    int | None,
    typer.Option("--grpc-port", help="The port of gRPC [default: 50051, or a free one]"),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Do not open a browser")]


def monitor(
    storage: Storage = None,
    port: Port = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
    no_browser: NoBrowser = False,
) -> None:
    """Show the runs of a folder in the browser, live while they are computed."""
    _serve(not no_browser, storage=storage, port=port, host=host, grpc_port=grpc_port)


def serve(
    service: Annotated[str, typer.Argument(help="What to serve: all")] = "all",
    storage: Storage = None,
    port: Port = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
) -> None:
    """Serve a folder to programs: gRPC and REST, without opening a browser."""
    if service != "all":
        _fail(f"there is no service {service!r}", "say: asgard serve all")
    _serve(False, storage=storage, port=port, host=host, grpc_port=grpc_port)


def _serve(browser: bool, **given: Any) -> None:
    try:
        settings = Settings.from_environment(os.environ, **given)
    except SettingError as error:
        _fail(str(error))
    # Heavy, and not needed to say what is wrong above.
    import uvloop

    from asgard_server import all_in_one
    from asgard_server.logging import configure

    configure(settings.log_level, settings.log_format)
    # Threads that wait for the disk come back often and briefly: at Python's own 5 ms each of
    # them would wait that long for the loop, and a call passes through two of them.
    sys.setswitchinterval(0.001)

    def ready(addresses: Addresses) -> None:
        _say(addresses, settings)
        if browser:
            _open(addresses.page)

    try:
        uvloop.run(all_in_one.serve(settings, ready=ready))
    except all_in_one.PortBusyError as busy:
        _busy(busy, settings, browser)
    except all_in_one.AddressError as error:
        low = error.errno == errno.EACCES
        mend = "choose a --port above 1023" if low else "choose another --host"
        _fail(f"cannot listen on {settings.host}: {error.strerror}", mend)
    except AsgardError as error:
        _fail(str(error))


def _say(addresses: Addresses, settings: Settings) -> None:
    typer.echo(f"Asgard shows {addresses.storage.resolve()}")
    typer.echo(f"  page and REST  {addresses.page}")
    typer.echo(f"  gRPC           {addresses.grpc}")
    if settings.host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo("  Everybody who reaches this address can read, change and delete runs.")
    typer.echo("Ctrl-C stops it.")
    sys.stdout.flush()


def _busy(busy: PortBusyError, settings: Settings, browser: bool) -> None:
    """Use the monitor that has the port, if it shows this folder; else name the mend."""
    if busy.option == "--port":
        page = f"http://localhost:{busy.port}"
        theirs = _storage_served(busy.host, busy.port)
        if theirs and theirs == _storage_id(settings.storage):
            typer.echo(f"A monitor already shows {settings.storage.resolve()}: {page}")
            if browser:
                _open(page)
            return
    _fail(
        f"port {busy.port} is in use by another program",
        f"choose another one: {busy.option} {busy.port + 1}, or {busy.option} 0 for any free port",
    )


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


def _fail(problem: str, mend: str = "") -> NoReturn:
    typer.echo(f"asgard: {problem}" + (f"\n  {mend}" if mend else ""), err=True)
    raise typer.Exit(1)
