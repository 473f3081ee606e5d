"""The one table of settings: name, default, how it is read, what it means.

The environment's variables, `asgard config` and docs/operate/environment.md are made from it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from asgard_server.settings import parsing, places
from asgard_server.settings.errors import SettingError
from asgard_server.settings.places import Endpoint, Storage

Durability = Literal["durable", "relaxed"]
Hidden = Literal["", "whole", "passwords"]


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, as the table describes it.

    `services` says who heeds it. `usually` is the default in words, where its value does not
    say enough. `hidden` says what of the value is never shown. `instead` names the variable
    that is heeded where this one is not set, and `agree` says whether the values of both mean
    the same.
    """

    name: str
    default: Any
    parse: parsing.Parse
    help: str
    services: tuple[str, ...]
    usually: str
    hidden: Hidden
    instead: str
    agree: Callable[[Any, Any], bool]

    @property
    def variable(self) -> str:
        """The variable of the environment."""
        return f"ASGARD_{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option of the command line, where it has one."""
        return "--" + self.name.replace("_", "-")


def _same(one: object, other: object) -> bool:
    return one == other


def _row(
    parse: parsing.Parse,
    help: str,
    *,
    services: str = "run blob gateway all",
    usually: str = "",
    hidden: Hidden = "",
    instead: str = "",
    agree: Callable[[Any, Any], bool] = _same,
) -> dict[str, Any]:
    return {
        "parse": parse,
        "help": help,
        "services": tuple(services.split()),
        "usually": usually,
        "hidden": hidden,
        "instead": instead,
        "agree": agree,
    }


def _host_and_pid() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a process of Asgard runs. Each field is a row of the table."""

    storage: Storage = field(
        default=Path("storage"),
        metadata=_row(
            places.storage,
            "Where runs and results lie: a folder, or `s3://bucket/prefix`.",
            services="run blob all",
            usually="./storage",
        ),
    )
    database_url: str | None = field(
        default=None,
        metadata=_row(
            parsing.url(
                "postgresql", "postgres", example="postgresql://user:password@host/database"
            ),
            "The PostgreSQL database of index and change log, `postgresql://...`; several replicas "
            "share it.",
            services="run blob all",
            usually="unset: SQLite, beside the documents of a folder",
            hidden="passwords",
        ),
    )
    redis_url: str | None = field(
        default=None,
        metadata=_row(
            parsing.url(
                *("redis", "rediss", "unix"),
                *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
                example="redis://host:6379/0",
            ),
            "The Redis through which replicas ring each other's bell: `redis://`, `rediss://` "
            "(TLS), `unix://`, `redis+sentinel://host:port,host:port/MASTER` or "
            "`redis+cluster://host:port,host:port`.",
            services="run all",
            usually="unset: the bell rings in this process, others look once a second",
            hidden="passwords",
        ),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=_row(
            parsing.text,
            "The address to listen on. Any other than loopback needs ASGARD_INSECURE as long as "
            "callers are not identified.",
        ),
    )
    port: int = field(
        default=8000,
        metadata=_row(
            parsing.port,
            "The port of the page and REST; 0 for a free one.",
            services="gateway all",
        ),
    )
    grpc_port: int | None = field(
        default=None,
        metadata=_row(
            parsing.port,
            "The port of gRPC; 0 for a free one.",
            services="run blob all",
            usually="50051, of `blob` 50053 (`all`: a free one where that is taken)",
        ),
    )
    metrics_port: int = field(
        default=9464,
        metadata=_row(
            parsing.port,
            "The port of /metrics, /healthz and /readyz; 0 for a free one. `all` has them on "
            "ASGARD_PORT.",
            services="run blob gateway",
        ),
    )
    run_address: str = field(
        default="localhost:50051",
        metadata=_row(
            parsing.text,
            "Where RunService is: any gRPC target, such as `dns:///asgard-run:50051`, whose every "
            "address gets its share of calls.",
            services="gateway",
        ),
    )
    blob_address: str = field(
        default="localhost:50053",
        metadata=_row(
            parsing.text,
            "Where BlobService is: any gRPC target, such as `dns:///asgard-blob:50053`. `run` asks "
            "it for grants of large arrays in S3.",
            services="run gateway",
        ),
    )
    insecure: bool = field(
        default=False,
        metadata=_row(
            parsing.yes_or_no,
            "Listen beyond loopback although nobody is identified: whoever reaches the address can "
            "read, change and delete everything.",
        ),
    )
    tls_cert_file: Path | None = field(
        default=None,
        metadata=_row(
            parsing.file,
            "This process's certificate (PEM): shown by its gRPC server, and to other services.",
        ),
    )
    tls_key_file: Path | None = field(
        default=None,
        metadata=_row(
            parsing.file,
            "The key of ASGARD_TLS_CERT_FILE (PEM).",
        ),
    )
    tls_ca_file: Path | None = field(
        default=None,
        metadata=_row(
            parsing.file,
            "Who signs the others' certificates (PEM). A gRPC server then takes only clients that "
            "show one; the gateway verifies services by it.",
        ),
    )
    s3_endpoint: Endpoint | None = field(
        default=None,
        metadata=_row(
            places.endpoint,
            "The address of the S3 store: `https://host:port`, or `host:port` with "
            "ASGARD_S3_SECURE.",
            services="run blob all",
            usually="unset: Amazon's",
            instead="MINIO_ENDPOINT",
            agree=Endpoint.agrees,
        ),
    )
    s3_public_endpoint: Endpoint | None = field(
        default=None,
        metadata=_row(
            places.endpoint,
            "The address of the S3 store as clients reach it, where that is another one: URLs for "
            "uploads and downloads are signed for it. A proxy there must keep the Host header.",
            services="blob all",
            usually="unset: ASGARD_S3_ENDPOINT",
        ),
    )
    s3_proxy_base: str | None = field(
        default=None,
        metadata=_row(
            parsing.url("http", "https", example="https://example.org/minio"),
            "Download URLs begin with this instead of the store's address; for a proxy that "
            "forwards the store's own Host.",
            services="blob all",
            instead="MINIO_PROXY_BASE",
        ),
    )
    s3_access_key: str | None = field(
        default=None,
        metadata=_row(
            parsing.text,
            "The access key of the S3 store.",
            services="run blob all",
            usually="unset: as AWS_* and the cloud's own identity say",
            instead="MINIO_ACCESS_KEY",
        ),
    )
    s3_secret_key: str | None = field(
        default=None,
        metadata=_row(
            parsing.text,
            "The secret key of ASGARD_S3_ACCESS_KEY.",
            services="run blob all",
            hidden="whole",
            instead="MINIO_SECRET_KEY",
        ),
    )
    s3_region: str | None = field(
        default=None,
        metadata=_row(
            parsing.text,
            "The region of the S3 store.",
            services="run blob all",
            usually="unset: AWS_DEFAULT_REGION, else us-east-1",
        ),
    )
    s3_secure: bool | None = field(
        default=None,
        metadata=_row(
            parsing.yes_or_no,
            "Whether an ASGARD_S3_ENDPOINT without http:// or https:// is called by HTTPS.",
            services="run blob all",
            usually="true",
            instead="MINIO_SECURE",
        ),
    )
    changes_kept: int = field(
        default=1_000_000,
        metadata=_row(
            parsing.whole(1_000),
            "Entries of the change log that are kept; a watcher further behind begins again with a "
            "snapshot.",
            services="run all",
        ),
    )
    changes_kept_days: int = field(
        default=30,
        metadata=_row(
            parsing.whole(1),
            "Days for which deleted ids and requests that made something are remembered.",
            services="run all",
        ),
    )
    replica: str = field(
        default_factory=_host_and_pid,
        metadata=_row(
            parsing.text,
            "The name of this replica in logs and in what it leaves behind for others to finish.",
            usually="host name and process id",
        ),
    )
    tracing: Literal["none", "otlp"] = field(
        default="none",
        metadata=_row(
            parsing.one_of("none", "otlp"),
            "`otlp` sends spans by OpenTelemetry (extra `otel`; OTEL_* as usual). A caller's "
            "traceparent is passed on in any case.",
        ),
    )
    durability: Durability = field(
        default="durable",
        metadata=_row(
            parsing.one_of("durable", "relaxed"),
            "`durable` answers when the disk has it; `relaxed` when the kernel has it: a power cut "
            "may lose the last seconds.",
            services="run all",
        ),
    )
    cache_seconds: float = field(
        default=3.0,
        metadata=_row(
            parsing.seconds,
            "Seconds for which the list of runs is kept, unless something changes before; 0 for "
            "not at all.",
            services="gateway all",
        ),
    )
    drain_seconds: float = field(
        default=5.0,
        metadata=_row(
            parsing.seconds,
            "Seconds for which a stop waits for calls that have begun.",
        ),
    )
    allowed_hosts: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            parsing.words,
            "Names, with commas between them, by which the page may be called beside localhost; "
            "`*` for any.",
            services="gateway all",
            usually="none",
        ),
    )
    log_level: str = field(
        default="warning",
        metadata=_row(
            parsing.one_of("debug", "info", "warning", "error"),
            "From which level on is logged: `debug`, `info`, `warning` or `error`.",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=_row(
            parsing.one_of("text", "json"),
            "`text` for people, `json` for machines; to standard error.",
        ),
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **given: Any) -> Settings:
        """Read `ASGARD_*` of `environ`; what is given and not None goes before it.

        Raises `SettingError` for a variable that is not known or cannot be used.
        """
        from asgard_server.settings.reading import read

        return read(environ, given).settings

    @property
    def listens_beyond_loopback(self) -> bool:
        """Whether other machines may reach this process."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True  # a name: it may stand for any address

    @property
    def s3_url(self) -> str | None:
        """The address of the S3 store to call; None for Amazon's."""
        if self.s3_endpoint is None:
            return None
        return self.s3_endpoint.url(self.s3_secure is not False)

    @property
    def can_keep_blobs(self) -> bool:
        """Whether the table of blobs has a home: a database, or a file beside a folder's bytes."""
        return self.database_url is not None or isinstance(self.storage, Path)

    @property
    def s3_public_url(self) -> str | None:
        """The address that clients call; None for the one that this process calls."""
        if self.s3_public_endpoint is None:
            return None
        return self.s3_public_endpoint.url(self.s3_secure is not False)

    def rewritten(self, url: str) -> str:
        """A download URL as it is given out: through the proxy, where there is one."""
        if self.s3_proxy_base is None:
            return url
        parts = urlsplit(url)
        return f"{self.s3_proxy_base}{parts.path}?{parts.query}"

    def checked(self) -> Settings:
        """Check what settings say together. Raises `SettingError`."""
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            given, other = "ASGARD_TLS_CERT_FILE", "ASGARD_TLS_KEY_FILE"
            if self.tls_cert_file is None:
                given, other = other, given
            raise SettingError(given, f"is set and {other} is not", "give both, or none")
        if (self.s3_access_key is None) != (self.s3_secret_key is None):
            given, other = "ASGARD_S3_ACCESS_KEY", "ASGARD_S3_SECRET_KEY"
            if self.s3_access_key is None:
                given, other = other, given
            raise SettingError(given, f"is set and {other} is not", "give both, or none")
        secure = self.s3_endpoint.secure if self.s3_endpoint else None
        if secure is not None and self.s3_secure is not None and secure != self.s3_secure:
            raise SettingError(
                "ASGARD_S3_SECURE",
                f"is {str(self.s3_secure).lower()}, and ASGARD_S3_ENDPOINT is {self.s3_endpoint}",
                "leave one of them to the other",
            )
        return self


ROWS: Mapping[str, Row] = {
    each.name: Row(each.name, each.default, **each.metadata) for each in fields(Settings)
}
"""The table, by name."""
