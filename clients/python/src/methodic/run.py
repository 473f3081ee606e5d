"""`chronicle.run(...)`: one run of a variation, as its worker has it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gimle.asgard.transfer.progress import Listener

from methodic import moving
from methodic.answers import Answer
from methodic.assets import Assets
from methodic.background import Background, FolderUpload
from methodic.errors import ChronicleError, ConflictError, UploadError
from methodic.runs import Runs
from methodic.tracker import UploadTracker

LEASE_SECONDS = 300.0
"""For how long a run is taken to be alive after a heartbeat, unless it is told otherwise."""


class Run:
    """A run: what it uploads is an output of it.

    Where no number is given, the environment says which: CHRONICLE_EXPERIMENT_ID,
    CHRONICLE_VARIATION, CHRONICLE_RUN.
    """

    def __init__(
        self,
        runs: Runs,
        assets: Assets,
        background: Background,
        experiment_id: str,
        variation: int,
        run: int,
    ) -> None:
        self.experiment_id = experiment_id
        self.variation = variation
        self.run = run
        self._runs = runs
        self._assets = assets
        self._background = background
        self._lease_token: str | None = None
        self._lease_seconds = LEASE_SECONDS
        self._uploads: list[Future[str]] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Run({self.experiment_id!r}, variation={self.variation}, run={self.run})"

    @property
    def output_of(self) -> dict[str, Any]:
        """What says that an asset is this run's."""
        return {
            "experiment_id": self.experiment_id,
            "variation": self.variation,
            "run": self.run,
        }

    # Its life ---------------------------------------------------------------------------

    def start(
        self,
        wandb_run_id: str | None = None,
        wandb_entity: str | None = None,
        wandb_project: str | None = None,
        wandb_dashboard_url: str | None = None,
        *,
        worker: str | None = None,
        lease_seconds: float | None = None,
    ) -> Run:
        """Begin: from now on this worker holds the run's lease. Raises ConflictError."""
        wandb = {
            "wandb_run_id": wandb_run_id,
            "wandb_entity": wandb_entity,
            "wandb_project": wandb_project,
            "wandb_dashboard_url": wandb_dashboard_url,
        }
        said = self._runs.start(
            *self._names, worker=worker, lease_seconds=lease_seconds, wandb=wandb
        )
        self._lease_token = said.lease_token
        self._lease_seconds = lease_seconds or LEASE_SECONDS
        return self

    def heartbeat(self) -> Run:
        """Say that it goes on. Raises ConflictError "lease_lost" when another worker has it."""
        self._runs.heartbeat(*self._names, lease_token=self._lease_token)
        return self

    @contextmanager
    def beating(self) -> Iterator[Run]:
        """Say so by itself, three times a lease, until the block ends.

        A lease that is lost is raised at the end of the block.
        """
        ended, lost = threading.Event(), []

        def beat() -> None:
            while not ended.wait(self._lease_seconds / 3):
                try:
                    self.heartbeat()
                except ConflictError as error:
                    lost.append(error)
                    return
                except ChronicleError:
                    continue  # the next one may come through, within the lease

        thread = threading.Thread(target=beat, name="methodic-heartbeat", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
        if lost:
            raise lost[0]

    def succeed(self) -> Run:
        """End it well, when all its uploads have ended. Raises what they raise."""
        self.wait_for_uploads()
        self._runs.succeed(*self._names, lease_token=self._lease_token)
        return self

    def fail(self, reason: str = "no reason given") -> Run:
        """End it as failed; its pending assets are abandoned."""
        self._runs.fail(*self._names, reason=reason, lease_token=self._lease_token)
        return self

    def get(self) -> Answer:
        """What is known of it: status, times, reason."""
        return self._runs.get(*self._names)

    # Its outputs ------------------------------------------------------------------------

    def upload_asset(
        self,
        asset_type: str,
        content: Any,
        name: str | None = None,
        content_type: str = "application/json",
        pending_reasons: Sequence[str] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Create an asset of JSON or text, ready at once, as an output of this run."""
        return self._assets.create_inline(
            *(asset_type, content, name, content_type, self.output_of, pending_reasons),
            metadata=metadata,
            lease_token=self._lease_token,
        )

    def upload_environment(self, environment: Mapping[str, Any]) -> Answer:
        """Note the environment it runs in, as an asset of type "snapshot"."""
        return self.upload_asset("snapshot", dict(environment), name="environment")

    def create_asset_presigned(
        self,
        asset_type: str,
        components: Sequence[str] = (),
        name: str | None = None,
        content_type: str | None = None,
        asset_config: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Create an asset to be uploaded: `.asset_id`, `.upload_urls` {component: URL}."""
        return self._assets.create_with_presigned(
            *(asset_type, components, name, content_type, self.output_of, asset_config),
            lease_token=self._lease_token,
        )

    def upload_component(
        self,
        url: str,
        local_path: str | os.PathLike[str],
        content_type: str = moving.CONTENT_TYPE,
    ) -> None:
        """PUT a file to a presigned URL. Raises UploadError."""
        self._assets.upload_component(url, local_path, content_type)

    def finalize_asset(self, asset_id: str) -> Answer:
        """Make an asset ready, and immutable; again is no error."""
        return self._assets.finalize(asset_id, lease_token=self._lease_token)

    def download_asset(self, asset_id: str, dest_dir: str | os.PathLike[str]) -> list[Path]:
        """Fetch every component of any asset into a folder."""
        return self._assets.download(asset_id, dest_dir)

    def list_outputs(self, across_runs: bool = False, **filters: Any) -> list[Answer]:
        """Its outputs, the newest first; those of all runs of the variation where asked."""
        run = None if across_runs else self.run
        return self._assets.list(
            experiment_id=self.experiment_id, variation=self.variation, run=run, **filters
        )

    def latest_output(self, asset_type: str, across_runs: bool = True) -> Answer | None:
        """Its newest ready output of a type, such as the checkpoint to go on from; or None."""
        run = None if across_runs else self.run
        found = self._assets.iter(
            asset_type=asset_type,
            state="ready",
            experiment_id=self.experiment_id,
            variation=self.variation,
            run=run,
            page_size=1,
        )
        return next(found, None)

    # Uploads in the background ----------------------------------------------------------

    def upload_directory_async(
        self,
        local_dir: str | os.PathLike[str],
        asset_type: str = "checkpoint",
        upload_tracker: UploadTracker | None = None,
        name: str | None = None,
        *,
        progress: Listener | None = None,
    ) -> Future[str]:
        """Upload a folder as one asset in the background; the future answers its id.

        A component is called by its path inside the folder ("weights/a.bin"). What goes wrong is
        raised by the future, by `wait_for_uploads` and by `succeed`. Raises UploadError for a
        folder that is not there.
        """
        what = FolderUpload(
            *(Path(local_dir), asset_type, name, self.output_of),
            lease_token=lambda: self._lease_token,
            tracker=upload_tracker,
            progress=progress,
        )
        begun = self._background.begin(what)
        with self._lock:
            self._uploads.append(begun)
        return begun

    register_and_upload_async = upload_directory_async

    def wait_for_uploads(self, timeout: float | None = None) -> list[str]:
        """Wait until all uploads of this run have ended; answer the assets' ids, in their order.

        Raises what the first of them raised, when all have ended; TimeoutError after `timeout`
        seconds.
        """
        with self._lock:
            begun = list(self._uploads)
        failures = [error for each in begun if (error := each.exception(timeout))]
        with self._lock:
            self._uploads = [each for each in self._uploads if each not in begun]
        if failures:
            first = failures[0]
            if len(failures) > 1:
                first.add_note(f"and {len(failures) - 1} other uploads failed")
            raise first if isinstance(first, ChronicleError) else UploadError(str(first)) from first
        return [each.result() for each in begun]

    @property
    def _names(self) -> tuple[str, int, int]:
        return self.experiment_id, self.variation, self.run
