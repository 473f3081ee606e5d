"""`asgard monitor` and `asgard serve run|asset|blob|gateway|all`."""

from __future__ import annotations

import os
from typing import Any

import typer

from asgard_server.commands.failing import cannot_start, fail
from asgard_server.commands.options import (
    AnyGrpcPort,
    AssetAddress,
    AssetGrpcPort,
    BlobAddress,
    BlobGrpcPort,
    GrpcPort,
    Host,
    Insecure,
    MetricsPort,
    NoBrowser,
    Port,
    RunAddress,
    Storage,
)
from asgard_server.commands.showing import serve_all_services
from asgard_server.processes import starting
from asgard_server.processes.listening import PortBusyError
from asgard_server.processes.starting import StartError
from asgard_server.settings import SettingError, Settings

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
    serve_all_services(settings, browser=not no_browser)


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
    serve_all_services(settings, browser=False)


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
        cannot_start(settings, service, starting.port_busy(busy))
    except StartError as error:
        cannot_start(settings, service, error)
