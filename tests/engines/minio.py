"""A MinIO server for tests: found or built, one for each process of the tests."""

from __future__ import annotations

import functools

from tests.conftest import free_port
from tests.engines import s3_store
from tests.engines.running import temporary
from tests.engines.small_disk import SmallDisk


@functools.cache
def server() -> s3_store.Store:
    """The running server; it ends with the process."""
    return another()


def another(disk: SmallDisk | None = None, **variables: str) -> s3_store.Store:
    """A server of its own, with more `variables`, its data on `disk`; who starts it removes it."""
    port, folder = free_port(), temporary("minio")
    data = folder / "data" if disk is None else disk.inside / "data"
    command = [
        *(s3_store.binary("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}"),
        *("--console-address", "127.0.0.1:0", "--config-dir", str(folder / "config")),
        str(data),
    ]
    (folder if disk is None else disk.path).joinpath("data").mkdir()
    if disk is not None:
        command = disk.entering(*command)
    environment = {
        "MINIO_ROOT_USER": s3_store.ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": s3_store.SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        **variables,
    }
    return s3_store.Store("minio", port, folder, command, environment, "/minio/health/ready")
