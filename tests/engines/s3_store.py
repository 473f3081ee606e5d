"""What the S3 stores of the tests have in common: found or built, started, stopped by pid."""

from __future__ import annotations

import atexit
import http.client
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.engines.leftovers import left
from tests.engines.running import CACHE, STARTED_WITHIN_S, Engine

ROOT = CACHE.parents[1]
_FOUND_IN_A_ROW = 3
ACCESS_KEY, SECRET_KEY = "asgard-tests", "asgard-tests-secret"


class Store(Engine):
    """A running S3 store. `command` starts it in the foreground; `asked` is a path it answers.

    It keeps its objects in a temporary folder until the process of the tests ends.
    """

    ends_by = signal.SIGTERM

    def __init__(
        self,
        name: str,
        port: int,
        folder: Path,
        command: list[str],
        environment: dict[str, str],
        asked: str,
    ) -> None:
        super().__init__(name, environment, folder=folder)
        self.port = port
        self._command = command
        self._asked = asked
        self._buckets = 0
        atexit.register(self.remove)
        self.start()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which a storage finds it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "ASGARD_S3_ENDPOINT": self.endpoint,
        }

    def bucket(self, *, kept: bool = False) -> str:
        """Make a new bucket; answer its name.

        It is removed behind the test, or the module, that made it, unless it is to be `kept`.
        """
        self._buckets += 1
        name = f"tests-{os.getpid()}-{self._buckets}"
        self.client().create_bucket(Bucket=name)
        self.wait_for(name)
        if not kept:
            left(lambda: self.remove_bucket(name))
        return name

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with all it holds, if it is there and the store runs."""
        if self._process is None:
            return
        client = self.client()
        client.meta.events.register("before-call.s3.DeleteBucket", _with_all_it_holds)
        with suppress(client.exceptions.NoSuchBucket):
            for key in self.keys(name) if self.name != "minio" else ():
                client.delete_object(Bucket=name, Key=key)
            client.delete_bucket(Bucket=name)

    def wait_for(self, name: str) -> None:
        """Wait until a bucket is served.

        MinIO that has just started on a busy machine has forgotten one that it had found.
        """
        client = self.client()
        deadline, found = time.monotonic() + STARTED_WITHIN_S, 0
        while found < _FOUND_IN_A_ROW:
            try:
                client.head_bucket(Bucket=name)
                client.list_objects_v2(Bucket=name, MaxKeys=1)
                found += 1
            except ClientError as error:
                if time.monotonic() > deadline:
                    pytest.fail(f"{self.name} loses the bucket that it has made: {error}")
                found = 0
                time.sleep(0.02)

    def client(self) -> Any:
        """A client of our own, to see what lies there."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Every key of a bucket that begins so."""
        pages = (
            self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        return self._command

    def answers(self) -> bool:
        """Whether it takes requests."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._asked)
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()


def _with_all_it_holds(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-minio-force-delete"] = "true"  # MinIO's own; others remove empty ones only


def binary(name: str) -> str:
    """The store's program: the system's, else the one built into .cache/engines."""
    found = shutil.which(name)
    if found is not None:
        return found
    built = CACHE / "bin" / name
    if not built.exists():
        said = subprocess.run(
            [ROOT / ".ci" / "setup-engines", name], capture_output=True, text=True, check=False
        )
        if said.returncode:
            pytest.fail(f"{said.stdout}{said.stderr}")
    return str(built)
