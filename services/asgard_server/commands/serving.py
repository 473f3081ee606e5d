"""`asgard monitor` and `asgard serve run|asset|blob|gateway|all`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from asgard_server.commands.failing import fail
from asgard_server.processes import starting
from asgard_server.processes.listening import PortBusyError
from asgard_server.processes.saying import say_ready, say_why_not
from asgard_server.processes.starting import StartError
from asgard_server.settings import SettingError, Settings

if TYPE_CHECKING:
    from asgard_server.all_in_one import Addresses
    from asgard_server.rpc.tracing import Tracer

Storage = Annotated[
    str | None,
    typer.Option(
        "--storage", "-s", help="The folder of the runs, or s3://bucket/prefix [default: ./storage]"
    ),
]
Port = Annotated[
    int | None, typer.Option("--port", "-p", help="The port of the page [default: 8000]")
]
Host = Annotated[
    str | None,
    typer.Option("--host", help="The address to listen on [default: 127.0.0.1]"),
]
GrpcPort = Annotated[
    int | None,
    typer.Option("--grpc-port", help="The port of gRPC [default: 50051]"),
]
BlobGrpcPort = Annotated[
    int | None,
    typer.Option("--grpc-port", help="The port of gRPC [default: 50053]"),
]
AssetGrpcPort = Annotated[
    int | None,
    typer.Option("--grpc-port", help="The port of gRPC [default: 50052]"),
]
AnyGrpcPort = Annotated[
    int | None,
    typer.Option("--grpc-port", help="The port of gRPC [default: 50051, or a free one]"),
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", help="The port of metrics and health [default: 9464]"),
]
RunAddress = Annotated[
    str | None,
    typer.Option(
        "--run-address", help="Where RunService is, a gRPC target [default: localhost:50051]"
    ),
]
BlobAddress = Annotated[
    str | None,
    typer.Option(
        "--blob-address", help="Where BlobService is, a gRPC target [default: localhost:50053]"
    ),
]
AssetAddress = Annotated[
    str | None,
    typer.Option(
        "--asset-address", help="Where AssetService is, a gRPC target [default: localhost:50052]"
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Listen beyond loopback although nobody is identified: whoever reaches the address "
        "can read, change and delete everything",
    ),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Do not open a browser")]

serve = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Serve runs to programs: everything in one process, or its services apart.\n\n"
    "What is not given is read from ASGARD_* variables: `asgard config` shows them.",
)


def monitor(
    storage: Storage = None,
    port: Port = None,
    host: Host = None,
    grpc_port: AnyGrpcPort = None,
    insecure: Insecure = False,
    no_browser: NoBrowser = False,
) -> None:
    """Show the runs of a folder in the browser, live while they are computed.

    Examples:

    ```
    asgard monitor
    asgard monitor --storage ./my-results --port 8080
    asgard monitor --storage s3://my-bucket/experiments --no-browser
    ```
    """
    settings = _settings(
        storage=storage, port=port, host=host, grpc_port=grpc_port, insecure=insecure or None
    )
    _serve_all(settings, browser=not no_browser)


@serve.command("all")
def serve_all(
    storage: Storage = None,
    port: Port = None,
    host: Host = None,
    grpc_port: AnyGrpcPort = None,
    insecure: Insecure = False,
) -> None:
    """Serve gRPC, REST and the page in one process, without opening a browser.

    Examples:

    ```
    asgard serve all --storage ./storage
    ASGARD_DATABASE_URL=postgresql://asgard@localhost/asgard asgard serve all
    ```
    """
    settings = _settings(
        storage=storage, port=port, host=host, grpc_port=grpc_port, insecure=insecure or None
    )
    _serve_all(settings, browser=False)


@serve.command("run")
def serve_run(
    storage: Storage = None,
    host: Host = None,
    grpc_port: GrpcPort = None,
    metrics_port: MetricsPort = None,
    insecure: Insecure = False,
) -> None:
    """Serve RunService by gRPC, as one of any number of replicas.

    Examples:

    ```
    asgard serve run --storage ./storage
    export ASGARD_DATABASE_URL=postgresql://asgard@db/asgard ASGARD_REDIS_URL=redis://redis
    asgard serve run --storage s3://results/asgard --host 0.0.0.0 --insecure
    ```
    """
    from asgard_server.run.__main__ import serve_and_say

    settings = _settings(
        storage=storage,
        host=host,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        insecure=insecure or None,
    )
    _run(settings, serve_and_say, "run")


@serve.command("blob")
def serve_blob(
    storage: Storage = None,
    host: Host = None,
    grpc_port: BlobGrpcPort = None,
    metrics_port: MetricsPort = None,
    insecure: Insecure = False,
) -> None:
    """Serve BlobService by gRPC, as one of any number of replicas.

    Examples:

    ```
    export ASGARD_DATABASE_URL=postgresql://asgard@db/asgard
    asgard serve blob --storage s3://results/asgard
    asgard serve blob --storage s3://results/asgard --host 0.0.0.0 --insecure
    ```
    """
    from asgard_server.blob.__main__ import serve_and_say

    settings = _settings(
        storage=storage,
        host=host,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        insecure=insecure or None,
    )
    _run(settings, serve_and_say, "blob")


@serve.command("asset")
def serve_asset(
    host: Host = None,
    grpc_port: AssetGrpcPort = None,
    metrics_port: MetricsPort = None,
    blob_address: BlobAddress = None,
    insecure: Insecure = False,
) -> None:
    """Serve AssetService by gRPC, as one of any number of replicas.

    Examples:

    ```
    export ASGARD_DATABASE_URL=postgresql://asgard@db/asgard
    asgard serve asset --blob-address localhost:50053
    asgard serve asset --blob-address dns:///asgard-blob:50053 --host 0.0.0.0 --insecure
    ```
    """
    from asgard_server.asset.__main__ import serve_and_say

    settings = _settings(
        host=host,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        blob_address=blob_address,
        insecure=insecure or None,
    )
    _run(settings, serve_and_say, "asset")


@serve.command("gateway")
def serve_gateway(
    host: Host = None,
    port: Port = None,
    run_address: RunAddress = None,
    blob_address: BlobAddress = None,
    asset_address: AssetAddress = None,
    metrics_port: MetricsPort = None,
    insecure: Insecure = False,
) -> None:
    """Serve the page and REST, over RunService elsewhere.

    Examples:

    ```
    asgard serve gateway --run-address localhost:50051
    asgard serve gateway --run-address dns:///asgard-run:50051 --host 0.0.0.0 --insecure
    ```
    """
    from asgard_server.gateway.__main__ import serve_and_say

    settings = _settings(
        host=host,
        port=port,
        run_address=run_address,
        blob_address=blob_address,
        asset_address=asset_address,
        metrics_port=metrics_port,
        insecure=insecure or None,
    )
    _run(settings, serve_and_say, "gateway")


def _settings(**given: Any) -> Settings:
    try:
        return Settings.from_environment(os.environ, **given)
    except SettingError as error:
        fail(str(error))


def _run(settings: Settings, serve: starting.Serve, service: str) -> None:
    try:
        starting.run(settings, serve, service=service)
    except PortBusyError as busy:
        _cannot(settings, service, starting.port_busy(busy))
    except StartError as error:
        _cannot(settings, service, error)


def _cannot(settings: Settings, service: str, error: StartError) -> NoReturn:
    say_why_not(settings, service, error)
    raise typer.Exit(1)


def _serve_all(settings: Settings, *, browser: bool) -> None:
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
        _cannot(settings, "all", error)


def _say(addresses: Addresses, settings: Settings) -> None:
    words = [
        f"Asgard shows {addresses.storage}",
        f"  page and REST  {addresses.page}",
        f"  gRPC           {addresses.grpc}",
    ]
    if settings.listens_beyond_loopback:
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
    _cannot(settings, "all", starting.port_busy(busy))


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
