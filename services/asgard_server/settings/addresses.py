"""Rows of the table of settings that say where a process listens and where the others are, and what
they say together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_server.settings import parsing
from asgard_server.settings.errors import require_both
from asgard_server.settings.rows import row

if TYPE_CHECKING:
    from asgard_server.settings.table import Settings

HOST = row(
    parsing.text,
    "The address to listen on. Any other than loopback needs ASGARD_AUTH=required, or "
    "ASGARD_INSECURE.",
)
PORT = row(
    parsing.port,
    "The port of the page and REST; 0 for a free one.",
    services="gateway all",
)
GRPC_PORT = row(
    parsing.port,
    "The port of gRPC; 0 for a free one.",
    services="run asset blob all",
    usually="50051, of `asset` 50052, of `blob` 50053 (`all`: a free one where taken)",
)
METRICS_PORT = row(
    parsing.port,
    "The port of /metrics, /healthz and /readyz; 0 for a free one. `all` has them on ASGARD_PORT.",
    services="run asset blob gateway",
)
RUN_ADDRESS = row(
    parsing.text,
    "Where RunService is: any gRPC target, such as `dns:///asgard-run:50051`, whose every "
    "address gets its share of calls. `asset` tells it of the runs of variations.",
    services="asset gateway",
)
BLOB_ADDRESS = row(
    parsing.text,
    "Where BlobService is: any gRPC target, such as `dns:///asgard-blob:50053`. `run` asks "
    "it for grants of large arrays in S3, `asset` for the bytes of assets.",
    services="run asset gateway",
)
ASSET_ADDRESS = row(
    parsing.text,
    "Where AssetService is: any gRPC target, such as `dns:///asgard-asset:50052`.",
    services="gateway",
)
INSECURE = row(
    parsing.yes_or_no,
    "Listen beyond loopback with ASGARD_AUTH=local: whoever reaches the address can read, "
    "change and delete everything.",
)
TLS_CERT_FILE = row(
    parsing.file,
    "This process's certificate (PEM): shown by its gRPC server, and to other services.",
)
TLS_KEY_FILE = row(
    parsing.file,
    "The key of ASGARD_TLS_CERT_FILE (PEM).",
)
TLS_CA_FILE = row(
    parsing.file,
    "Who signs the others' certificates (PEM). A gRPC server then takes only clients that "
    "show one; the gateway verifies services by it.",
)
ALLOWED_HOSTS = row(
    parsing.words,
    "Names, with commas between them, by which the page may be called beside localhost; "
    "`*` for any.",
    services="gateway all",
    usually="none",
)


def check(settings: Settings) -> None:
    """Check what these settings say together. Raises `SettingError`."""
    cert, key = settings.tls_cert_file is not None, settings.tls_key_file is not None
    require_both("ASGARD_TLS_CERT_FILE", cert, "ASGARD_TLS_KEY_FILE", key)
