"""Uploads of folders in the background: one pool for all runs of a client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gimle.asgard.core.ids import new_id
from gimle.asgard.transfer.progress import Listener

from methodic import moving
from methodic.assets import Assets
from methodic.errors import ConflictError, UploadError
from methodic.tracker import PendingUpload, UploadTracker
from methodic.transport import Transport


@dataclass(frozen=True, slots=True)
class FolderUpload:
    """A folder to upload, and the asset that it becomes."""

    folder: Path
    asset_type: str
    name: str | None = None
    output_of: Mapping[str, Any] | None = None
    lease_token: Callable[[], str | None] = lambda: None
    tracker: UploadTracker | None = None
    progress: Listener | None = None
    metadata: Mapping[str, Any] | None = None


class Background:
    """A pool of threads that upload folders; it is started by the first."""

    def __init__(self, transport: Transport, assets: Assets, workers: int) -> None:
        self._transport = transport
        self._assets = assets
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def begin(self, what: FolderUpload, asset_id: str | None = None) -> Future[str]:
        """Upload in the background; the future answers the asset's id. Raises UploadError.

        That the folder is there, and has files, is looked at before this returns.
        """
        if not what.folder.is_dir():
            raise UploadError(f"{what.folder} is no folder")
        chosen = asset_id or new_id(datetime.now(UTC))
        if what.tracker is not None:
            run = what.output_of or {}
            what.tracker.begin(
                *(what.folder, what.asset_type, chosen, what.name, run.get("experiment_id")),
                *(run.get("variation"), run.get("run")),
            )
        with self._lock:
            if self._stop.is_set():
                raise UploadError("the client is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, "methodic-upload")
            return self._pool.submit(self._upload, what, chosen)

    def resume(self, pending: PendingUpload, tracker: UploadTracker) -> Future[str]:
        """Go on with an upload that an earlier process has left; what has arrived is not sent."""
        output_of = None
        if pending.experiment_id is not None:
            output_of = {
                "experiment_id": pending.experiment_id,
                "variation": pending.variation,
                "run": pending.run,
            }
        what = FolderUpload(
            *(pending.local_dir, pending.asset_type, pending.name, output_of), tracker=tracker
        )
        return self.begin(what, pending.asset_id)

    def close(self) -> None:
        """Stop what is under way; a tracker knows it for later."""
        with self._lock:
            self._stop.set()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _upload(self, what: FolderUpload, asset_id: str) -> str:
        try:
            self._sent(what, asset_id)
        except Exception as error:
            if what.tracker is not None:
                what.tracker.fail(asset_id, str(error))
            raise
        if what.tracker is not None:
            what.tracker.end(asset_id)
        return asset_id

    def _sent(self, what: FolderUpload, asset_id: str) -> None:
        files = moving.sources(what.folder)
        made = self._created(what, asset_id, files)
        if made.asset.state == "ready":
            return
        to = moving.AssetUploads(self._transport, asset_id, made.uploads)
        moving.send_all(files, to, progress=what.progress, stop=self._stop)
        self._assets.finalize(asset_id, lease_token=what.lease_token())

    def _created(self, what: FolderUpload, asset_id: str, files: list[moving.Source]) -> Any:
        try:
            return self._assets.create_with_presigned(
                what.asset_type,
                name=what.name,
                output_of=what.output_of,
                files=files,
                metadata=what.metadata,
                lease_token=what.lease_token(),
                asset_id=asset_id,
            )
        except ConflictError as error:
            if error.code != "already_exists":
                raise
            raise UploadError(
                f"{what.folder} has changed since its upload as asset {asset_id} was begun: upload "
                "it again as a new asset, and have the tracker forget this one"
            ) from error
