"""A versitygw server over a folder for tests: found or built, one for each process of the tests."""

from __future__ import annotations

import functools

from tests.conftest import free_port
from tests.engines import s3_store
from tests.engines.running import temporary


@functools.cache
def server() -> s3_store.Store:
    """The running server; it ends with the process."""
    return another()


def another() -> s3_store.Store:
    """A server of its own; who starts it removes it."""
    port, folder = free_port(), temporary("versitygw")
    (folder / "data").mkdir()
    command = [
        *(s3_store.binary("versitygw"), "--port", f"127.0.0.1:{port}", "--quiet"),
        *("posix", str(folder / "data")),
    ]
    environment = {
        "ROOT_ACCESS_KEY": s3_store.ACCESS_KEY,
        "ROOT_SECRET_KEY": s3_store.SECRET_KEY,
    }
    return s3_store.Store("versitygw", port, folder, command, environment, "/")
