"""The client: every namespace over one connection pool and one pool of uploads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from gimle.asgard.transfer.progress import Listener, Progress

from methodic import config
from methodic.answers import Answer
from methodic.assets import Assets
from methodic.background import Background
from methodic.datasets import Datasets
from methodic.errors import ChronicleConfigError
from methodic.experiments import Experiments, Variations
from methodic.handles import Experiment
from methodic.moving import AssetUploads, Source, send_all
from methodic.run import Run
from methodic.runs import Runs
from methodic.scopes import Me, Owner
from methodic.search import Search
from methodic.tracker import UploadTracker
from methodic.transport import Transport


class Chronicle:
    """A client of one server, for one caller. Threads may share it; `close` ends it.

    `timeout` is in seconds, for each request to the server; `max_upload_workers` folders are
    uploaded at once in the background. Creates are for the organization that is given, by id or
    slug, unless a call says otherwise (PERSONAL: for the caller alone).
    """

    def __init__(
        self,
        server_url: str = config.DEFAULT_SERVER,
        api_key: str = "",
        timeout: float = 30,
        max_upload_workers: int = 2,
        organization_id: str | None = None,
        organization_slug: str | None = None,
    ) -> None:
        found = config.Config(
            *(server_url, api_key, timeout, max_upload_workers, organization_id, organization_slug)
        ).checked()
        self._transport = Transport(found)
        self.me = Me(self._transport)
        owner = Owner(self.me, found.organization_id, found.organization_slug)
        self.assets = Assets(self._transport, owner)
        self.experiments = Experiments(self._transport, owner)
        self.variations = Variations(self._transport)
        self.runs = Runs(self._transport)
        self.datasets = Datasets(self._transport, self.assets, self.experiments)
        self.search = Search(self._transport)
        self._background = Background(self._transport, self.assets, found.max_upload_workers)

    @classmethod
    def from_env(cls, **overrides: Any) -> Chronicle:
        """A client as CHRONICLE_* says, then the files in ~/.methodic; arguments go before both.

        Raises ChronicleConfigError when there is no key anywhere.
        """
        return cls._of(config.of_environment(overrides))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str] | None = None, **overrides: Any) -> Chronicle:
        """A client as a YAML file says; arguments go before it. Raises ChronicleConfigError."""
        return cls._of(config.of_file(path, overrides))

    @classmethod
    def _of(cls, found: config.Config) -> Chronicle:
        return cls(
            *(found.server_url, found.api_key, found.timeout, found.max_upload_workers),
            *(found.organization_id, found.organization_slug),
        )

    def run(
        self,
        experiment_id: str | None = None,
        variation: int | None = None,
        run: int | None = None,
    ) -> Run:
        """A handle of a run; the environment says which where it is not given.

        Raises ChronicleConfigError.
        """
        return Run(
            *(self.runs, self.assets, self._background),
            experiment_id or _told("CHRONICLE_EXPERIMENT_ID"),
            _number("CHRONICLE_VARIATION") if variation is None else variation,
            _number("CHRONICLE_RUN") if run is None else run,
        )

    def experiment(self, experiment_id: str) -> Experiment:
        """A handle of an experiment."""
        return Experiment(self.experiments, self.variations, experiment_id)

    def resume_uploads(self, tracker: UploadTracker) -> list[Future[str]]:
        """Go on, in the background, with what an earlier process has left of its uploads."""
        return [self._background.resume(each, tracker) for each in tracker.get_pending_uploads()]

    def send(
        self,
        made: Answer,
        files: Sequence[Source],
        progress: Listener | None = None,
        stop: threading.Event | None = None,
    ) -> Progress:
        """Send the files of an asset just made, by what the server answered; then finalize it."""
        to = AssetUploads(self._transport, made.asset_id, made.uploads)
        return send_all(files, to, progress=progress, stop=stop)

    def audit(self, **of: str | None) -> Iterator[Answer]:
        """Who did what when, the newest first: of an asset_id, experiment_id, organization_id."""
        yield from self._transport.pages("/v1/audit", "entries", page_size=1_000, **of)

    def close(self) -> None:
        """End background uploads (a tracker knows them) and connections; again is no error."""
        self._background.close()
        self._transport.close()

    def __enter__(self) -> Chronicle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _told(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ChronicleConfigError(
            f"which run is it? give experiment_id, variation and run, or set {variable}"
        )
    return value


def _number(variable: str) -> int:
    value = _told(variable)
    if not value.isdecimal():
        raise ChronicleConfigError(f"{variable} is {value!r}, which is no number")
    return int(value)
