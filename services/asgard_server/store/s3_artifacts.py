"""The files of jobs in an S3 store, under their documented keys: `Artifacts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Signer

from asgard_server.sim_data.domain import DOWNLOAD_SECONDS, FILES, UPLOAD_SECONDS, Arrived, Artifact
from asgard_server.store.s3_asking import Asking


class S3Artifacts:
    """Files of jobs in a bucket.

    URLs sign the key itself, with the host and nothing else: a pod sends a plain PUT. `signer` is
    for the address that clients use; `reading`, where there is one, signs downloads, which
    `rewrite` changes on their way out.
    """

    def __init__(
        self,
        place: Place,
        signer: Signer,
        pool: Executor,
        *,
        reading: Signer | None = None,
        rewrite: Callable[[str], str] = lambda url: url,
    ) -> None:
        self._place = place
        self._store = Asking(place, pool)
        self._writing = signer
        self._reading = reading or signer
        self._rewrite = rewrite

    def upload_urls(self, job_id: int) -> Mapping[str, str]:
        """A URL to PUT each file with, good for 14 hours."""
        return {
            name: self._writing.presign("PUT", self._place.bucket, key, UPLOAD_SECONDS)
            for name, key in _keys(job_id)
        }

    def download_urls(self, job_id: int) -> Mapping[str, str]:
        """A URL to GET each file with, good for an hour."""
        return {
            name: self._rewrite(
                self._reading.presign("GET", self._place.bucket, key, DOWNLOAD_SECONDS)
            )
            for name, key in _keys(job_id)
        }

    async def arrived(self, job_id: int) -> Sequence[Arrived]:
        """The files that lie there now."""
        return await self._store.ask(
            lambda client: [_arrived(each) for each in self._list(client, job_id)]
        )

    async def remove(self, job_id: int) -> None:
        """Remove all files of a job, the report too. Raises as `Artifacts` does."""

        def remove(client: Any) -> None:
            keys = [each["Key"] for each in self._list(client, job_id)]
            for first in range(0, len(keys), 1_000):
                some = [{"Key": key} for key in keys[first : first + 1_000]]
                answer = client.delete_objects(
                    Bucket=self._place.bucket, Delete={"Objects": some, "Quiet": True}
                )
                for error in answer.get("Errors", ()):
                    raise StorageUnavailableError(
                        str(self._place), f"{error.get('Key')} stays: {error.get('Message')}"
                    )

        await self._store.ask(remove)

    async def check(self) -> None:
        """Ask whether the bucket is there."""
        await self._store.ask(lambda client: client.head_bucket(Bucket=self._place.bucket))

    def _list(self, client: Any, job_id: int) -> list[Any]:
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self._place.bucket, Prefix=_folder(job_id)
        )
        return [each for page in pages for each in page.get("Contents", ())]


def _keys(job_id: int) -> Iterator[tuple[str, str]]:
    """The files of a job by name, with their keys."""
    return ((name, _folder(job_id) + name) for name in FILES)


def _folder(job_id: int) -> str:
    return f"sim-data/{job_id}/"


def _arrived(listed: Any) -> Arrived:
    name = listed["Key"].rpartition("/")[2]
    file = Artifact(name, listed["Size"], listed["ETag"].strip('"'))
    return Arrived(file, listed["LastModified"])
