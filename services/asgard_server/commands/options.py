"""What the commands that serve are told on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

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
