"""Rows of the table of settings that say where the S3 store is and what is asked of it, and
what they say together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_server.settings import parsing, places
from asgard_server.settings.errors import SettingError, require_both
from asgard_server.settings.places import Endpoint
from asgard_server.settings.rows import row

if TYPE_CHECKING:
    from asgard_server.settings.table import Settings

S3_ENDPOINT = row(
    places.endpoint,
    "The address of the S3 store: `https://host:port`, or `host:port` with ASGARD_S3_SECURE.",
    services="run blob all",
    usually="unset: Amazon's",
    instead="MINIO_ENDPOINT",
    agree=Endpoint.agrees,
)
S3_PUBLIC_ENDPOINT = row(
    places.endpoint,
    "The address of the S3 store as clients reach it, where that is another one: URLs for "
    "uploads and downloads are signed for it. A proxy there must keep the Host header.",
    services="blob all",
    usually="unset: ASGARD_S3_ENDPOINT",
)
S3_PROXY_BASE = row(
    parsing.url("http", "https", example="https://example.org/minio"),
    "Download URLs begin with this instead of the store's address; for a proxy that "
    "forwards the store's own Host.",
    services="blob all",
    instead="MINIO_PROXY_BASE",
)
S3_ACCESS_KEY = row(
    parsing.text,
    "The access key of the S3 store.",
    services="run blob all",
    usually="unset: as AWS_* and the cloud's own identity say",
    instead="MINIO_ACCESS_KEY",
)
S3_SECRET_KEY = row(
    parsing.text,
    "The secret key of ASGARD_S3_ACCESS_KEY.",
    services="run blob all",
    hidden="whole",
    instead="MINIO_SECRET_KEY",
)
S3_REGION = row(
    parsing.text,
    "The region of the S3 store.",
    services="run blob all",
    usually="unset: AWS_DEFAULT_REGION, else us-east-1",
)
S3_SECURE = row(
    parsing.yes_or_no,
    "Whether an ASGARD_S3_ENDPOINT without http:// or https:// is called by HTTPS.",
    services="run blob all",
    usually="true",
    instead="MINIO_SECURE",
)
S3_ENCRYPTION = row(
    parsing.one_of("none", "AES256", "aws:kms"),
    "What each object is encrypted by, said with every write and signed into every upload "
    "URL, for buckets whose policy asks for it; `none` leaves it to the bucket.",
    services="run blob all",
)
S3_KMS_KEY_ID = row(
    parsing.text,
    "The key of ASGARD_S3_ENCRYPTION=aws:kms.",
    services="run blob all",
    usually="unset: the bucket's",
)
S3_CORS_ORIGINS = row(
    parsing.words,
    "Origins of pages, with commas between them, whose browsers may use signed URLs: "
    "`asgard blob init` lets the bucket allow them.",
    services="blob all",
    usually="none",
)


def check(settings: Settings) -> None:
    """Check what these settings say together. Raises `SettingError`."""
    access, secret = settings.s3_access_key is not None, settings.s3_secret_key is not None
    require_both("ASGARD_S3_ACCESS_KEY", access, "ASGARD_S3_SECRET_KEY", secret)
    if settings.s3_kms_key_id is not None and settings.s3_encryption != "aws:kms":
        raise SettingError(
            "ASGARD_S3_KMS_KEY_ID",
            f"is set, and ASGARD_S3_ENCRYPTION is {settings.s3_encryption}",
            "set that to aws:kms, or leave the key out",
        )
    secure = settings.s3_endpoint.secure if settings.s3_endpoint else None
    if secure is not None and settings.s3_secure is not None and secure != settings.s3_secure:
        said = str(settings.s3_secure).lower()
        raise SettingError(
            "ASGARD_S3_SECURE",
            f"is {said}, and ASGARD_S3_ENDPOINT is {settings.s3_endpoint}",
            "leave one of them to the other",
        )
