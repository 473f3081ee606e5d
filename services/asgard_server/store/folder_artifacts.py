"""The files of jobs in a folder, moved by URLs that the page's process serves: `Artifacts`.

sim-data/{job_id}/{file}, as in a store.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from asgard_server.sim_data.domain import DOWNLOAD_SECONDS, FILES, UPLOAD_SECONDS, Arrived, Artifact
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_grants import FolderGrants


class FolderArtifacts:
    """Files of jobs below the folder of `held`."""

    def __init__(self, storage: Path, held: FolderBytes, grants: FolderGrants) -> None:
        self._folder = storage / "sim-data"
        self._bytes = held
        self._grants = grants

    def upload_urls(self, job_id: int) -> Mapping[str, str]:
        """A URL to PUT each file with, good for 14 hours."""
        return {
            name: self._grants.open_put(f"sim-data/{job_id}/{name}", UPLOAD_SECONDS)
            for name in FILES
        }

    def download_urls(self, job_id: int) -> Mapping[str, str]:
        """A URL to GET each file with, good for an hour."""
        return {
            name: self._grants.open_get(
                f"sim-data/{job_id}/{name}", "application/json", DOWNLOAD_SECONDS
            )
            for name in FILES
        }

    async def arrived(self, job_id: int) -> Sequence[Arrived]:
        """The files that lie there now."""
        return await self._bytes.in_pool(self._arrived, job_id)

    def _arrived(self, job_id: int) -> list[Arrived]:
        found = []
        for name in FILES:
            with contextlib.suppress(FileNotFoundError):
                stat = self._path(job_id, name).stat()
                etag = f"{stat.st_mtime_ns}-{stat.st_ino}"
                at = datetime.fromtimestamp(stat.st_mtime, UTC)
                found.append(Arrived(Artifact(name, stat.st_size, etag), at))
        return found

    async def remove(self, job_id: int) -> None:
        """Remove all files of a job, the report too."""

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._folder / str(job_id))

        await self._bytes.in_pool(remove)

    async def check(self) -> None:
        """Ask whether the folder can be read."""
        await self._bytes.in_pool(self._folder.exists)

    # Reports

    def fetch(self, job_id: int, name: str) -> bytes:
        """Read a file of a job. Raises `FileNotFoundError`, and as `Artifacts` does."""
        path = self._path(job_id, name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError:
            with self._bytes.speaking():
                raise

    def put(self, job_id: int, markdown: str) -> None:
        """Write the job's report.md, whole or not at all."""
        with self._bytes.incoming() as taking:
            taking.write(markdown.encode())
            taking.place(self._path(job_id, "report.md"), once=False)

    def _path(self, job_id: int, name: str) -> Path:
        return self._bytes.path(f"sim-data/{job_id}/{name}")
