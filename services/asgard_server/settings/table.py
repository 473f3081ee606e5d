"""The one table of settings: name, default, how it is read, what it means.

The environment's variables, `asgard config` and docs/operate/environment.md are made from it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from asgard_server.settings import addresses, jobs, parsing, places, sign_in, stores, who
from asgard_server.settings.places import Endpoint, Storage
from asgard_server.settings.rows import Row, row

Durability = Literal["durable", "relaxed"]


def _host_and_pid() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a process of Asgard runs. Each field is a row of the table."""

    storage: Storage = field(
        default=Path("storage"),
        metadata=row(
            places.storage,
            "Where runs and results lie: a folder, or `s3://bucket/prefix`.",
            services="run blob all",
            usually="./storage",
        ),
    )
    database_url: str | None = field(
        default=None,
        metadata=row(
            parsing.url(
                "postgresql", "postgres", example="postgresql://user:password@host/database"
            ),
            "The PostgreSQL database of index and change log, `postgresql://...`; several replicas "
            "share it.",
            services="run asset blob all",
            usually="unset: SQLite, beside the documents of a folder",
            hidden="passwords",
        ),
    )
    redis_url: str | None = field(
        default=None,
        metadata=row(
            parsing.url(
                *("redis", "rediss", "unix"),
                *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
                example="redis://host:6379/0",
            ),
            "The Redis through which replicas ring each other's bell: `redis://`, `rediss://` "
            "(TLS), `unix://`, `redis+sentinel://host:port,host:port/MASTER` or "
            "`redis+cluster://host:port,host:port`.",
            services="run asset blob all",
            usually="unset: the bell rings in this process, others look once a second",
            hidden="passwords",
        ),
    )
    host: str = field(default="127.0.0.1", metadata=addresses.HOST)
    port: int = field(default=8000, metadata=addresses.PORT)
    grpc_port: int | None = field(default=None, metadata=addresses.GRPC_PORT)
    metrics_port: int = field(default=9464, metadata=addresses.METRICS_PORT)
    run_address: str = field(default="localhost:50051", metadata=addresses.RUN_ADDRESS)
    blob_address: str = field(default="localhost:50053", metadata=addresses.BLOB_ADDRESS)
    asset_address: str = field(default="localhost:50052", metadata=addresses.ASSET_ADDRESS)
    auth: Literal["local", "required"] = field(default="local", metadata=who.AUTH)
    identity_address: str | None = field(default=None, metadata=who.IDENTITY_ADDRESS)
    service_key: str | None = field(default=None, metadata=who.SERVICE_KEY)
    service_names: tuple[str, ...] = field(default=(), metadata=who.SERVICE_NAMES)
    admins: tuple[str, ...] = field(default=(), metadata=who.ADMINS)
    oidc_issuer: str | None = field(default=None, metadata=who.OIDC_ISSUER)
    oidc_audience: tuple[str, ...] = field(default=(), metadata=who.OIDC_AUDIENCE)
    oidc_organizations_claim: str | None = field(
        default=None, metadata=who.OIDC_ORGANIZATIONS_CLAIM
    )
    oidc_teams_claim: str | None = field(default=None, metadata=who.OIDC_TEAMS_CLAIM)
    oidc_leeway_seconds: int = field(default=60, metadata=who.OIDC_LEEWAY_SECONDS)
    oidc_client_id: str | None = field(default=None, metadata=sign_in.OIDC_CLIENT_ID)
    oidc_client_secret: str | None = field(default=None, metadata=sign_in.OIDC_CLIENT_SECRET)
    oidc_scopes: tuple[str, ...] = field(
        default=("openid", "profile", "email"), metadata=sign_in.OIDC_SCOPES
    )
    session_key: tuple[str, ...] = field(default=(), metadata=sign_in.SESSION_KEY)
    session_hours: int = field(default=12, metadata=sign_in.SESSION_HOURS)
    insecure: bool = field(default=False, metadata=addresses.INSECURE)
    tls_cert_file: Path | None = field(default=None, metadata=addresses.TLS_CERT_FILE)
    tls_key_file: Path | None = field(default=None, metadata=addresses.TLS_KEY_FILE)
    tls_ca_file: Path | None = field(default=None, metadata=addresses.TLS_CA_FILE)
    s3_endpoint: Endpoint | None = field(default=None, metadata=stores.S3_ENDPOINT)
    s3_public_endpoint: Endpoint | None = field(default=None, metadata=stores.S3_PUBLIC_ENDPOINT)
    s3_proxy_base: str | None = field(default=None, metadata=stores.S3_PROXY_BASE)
    s3_access_key: str | None = field(default=None, metadata=stores.S3_ACCESS_KEY)
    s3_secret_key: str | None = field(default=None, metadata=stores.S3_SECRET_KEY)
    s3_region: str | None = field(default=None, metadata=stores.S3_REGION)
    s3_secure: bool | None = field(default=None, metadata=stores.S3_SECURE)
    minio_endpoint: Endpoint | None = field(default=None, metadata=jobs.MINIO_ENDPOINT)
    minio_bucket: str = field(default="simswarm", metadata=jobs.MINIO_BUCKET)
    sim_data: Literal["store", "local"] = field(default="store", metadata=jobs.SIM_DATA)
    report_runner: str = field(default="", metadata=jobs.REPORT_RUNNER)
    max_seed_chars: int = field(default=50_000, metadata=jobs.MAX_SEED_CHARS)
    demo_mode: bool = field(default=False, metadata=jobs.DEMO_MODE)
    s3_encryption: Literal["none", "AES256", "aws:kms"] = field(
        default="none", metadata=stores.S3_ENCRYPTION
    )
    s3_kms_key_id: str | None = field(default=None, metadata=stores.S3_KMS_KEY_ID)
    s3_cors_origins: tuple[str, ...] = field(default=(), metadata=stores.S3_CORS_ORIGINS)
    changes_kept: int = field(
        default=1_000_000,
        metadata=row(
            parsing.whole(1_000),
            "Entries of the change log that are kept; a watcher further behind begins again with a "
            "snapshot.",
            services="run asset blob all",
        ),
    )
    changes_kept_days: int = field(
        default=30,
        metadata=row(
            parsing.whole(1),
            "Days for which deleted ids and requests that made something are remembered.",
            services="run asset blob all",
        ),
    )
    replica: str = field(
        default_factory=_host_and_pid,
        metadata=row(
            parsing.text,
            "The name of this replica in logs and in what it leaves behind for others to finish.",
            usually="host name and process id",
        ),
    )
    tracing: Literal["none", "otlp"] = field(
        default="none",
        metadata=row(
            parsing.one_of("none", "otlp"),
            "`otlp` sends spans by OpenTelemetry (extra `otel`; OTEL_* as usual). A caller's "
            "traceparent is passed on in any case.",
        ),
    )
    durability: Durability = field(
        default="durable",
        metadata=row(
            parsing.one_of("durable", "relaxed"),
            "`durable` answers when the disk has it; `relaxed` when the kernel has it: a power cut "
            "may lose the last seconds.",
            services="run all",
        ),
    )
    cache_seconds: float = field(
        default=3.0,
        metadata=row(
            parsing.seconds,
            "Seconds for which the list of runs is kept, unless something changes before; 0 for "
            "not at all.",
            services="gateway all",
        ),
    )
    start_seconds: float = field(
        default=60.0,
        metadata=row(
            parsing.seconds,
            "Seconds for which a start waits for a database or an S3 store that does not answer; "
            "what waiting does not mend ends it at once.",
            services="run asset blob",
        ),
    )
    drain_seconds: float = field(
        default=5.0,
        metadata=row(
            parsing.seconds,
            "Seconds for which a stop waits for calls that have begun.",
        ),
    )
    allowed_hosts: tuple[str, ...] = field(default=(), metadata=addresses.ALLOWED_HOSTS)
    log_level: str = field(
        default="warning",
        metadata=row(
            parsing.one_of("debug", "info", "warning", "error"),
            "From which level on is logged: `debug`, `info`, `warning` or `error`.",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=row(
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
        addresses.check(self)
        stores.check(self)
        who.check(self)
        sign_in.check(self)
        return self


ROWS: Mapping[str, Row] = {
    each.name: Row(each.name, each.default, **each.metadata) for each in fields(Settings)
}
"""The table, by name."""
