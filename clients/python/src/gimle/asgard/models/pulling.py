"""From the bucket into a cache that huggingface_hub reads, offline and under its usual names."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.models.layout import (
    PREFIX,
    REFERENCE_BYTES,
    UNFINISHED,
    Model,
    Snapshot,
    blob_name,
    folder_of,
    models_in,
)
from gimle.asgard.models.seeds import clear_stale, note_whole, noted_whole
from gimle.asgard.models.turns import alone
from gimle.asgard.transfer import (
    Bucket,
    DirectDownloads,
    Remote,
    Stored,
    Wanted,
    download,
)
from gimle.asgard.transfer.checking import holds
from gimle.asgard.transfer.progress import Listener

_ASKERS = 16


@dataclass(frozen=True, slots=True)
class Pulled:
    """A snapshot that is in the cache now; of its files `skipped` were there already."""

    id: str
    folder: Path
    size: int
    files: int
    skipped: int


def stored_models(bucket: Bucket, id: str | None = None) -> dict[str, Model]:
    """The models of a bucket, or one. Raises NotFoundError when that one is not there."""
    prefix = PREFIX if id is None else f"{PREFIX}{folder_of(id)}/"
    models = models_in(bucket.list(prefix))
    if id is not None and id not in models:
        raise NotFoundError("model", id)
    return models


def pull(
    bucket: Bucket,
    home: Path,
    id: str | None = None,
    *,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> list[Pulled]:
    """Fetch one model, or all of the bucket, into the cache at `home`; answer its snapshots.

    What is there already is not fetched again, and what an earlier call has begun is gone on
    with. A snapshot's folder shows no file that is not whole and checked.
    Raises NotFoundError for a model that the bucket lacks, BusyError while another process pulls
    it into the same cache, TransferError, OSError.
    """
    models = stored_models(bucket, id)
    cache = prepared(home)
    with alone(cache, models):
        return _pulled(bucket, home, cache, models, progress, stop)


def _pulled(
    bucket: Bucket,
    home: Path,
    cache: Path,
    models: Mapping[str, Model],
    progress: Listener | None,
    stop: threading.Event | None,
) -> list[Pulled]:
    pulls = [
        _Pull(cache / folder_of(model.id), model, snapshot, bucket)
        for model in models.values()
        for snapshot in model.snapshots.values()
    ]
    for model in models.values():
        clear_stale(cache / folder_of(model.id), model)
    missing: list[Wanted] = []
    with ThreadPoolExecutor(_ASKERS) as askers:
        for one in pulls:
            missing += one.missing(askers)
    download(_once(missing), DirectDownloads(bucket), progress=progress, stop=stop)
    for one in pulls:
        one.link()
        note_whole(one.snapshot_folder)
    for model in models.values():
        _write_refs(cache / folder_of(model.id), model, bucket)
        _lead_to(home, cache, folder_of(model.id))
    return [
        Pulled(
            one.model.id,
            one.snapshot_folder,
            one.snapshot.size,
            len(one.snapshot.files),
            one.skipped,
        )
        for one in pulls
    ]


def prepared(home: Path) -> Path:
    """The cache at `home`, which is HF_HOME or HF_HUB_CACHE: found under both.

    Its models lie in `home` itself, with a link `hub` to it, or in `hub` where that is a folder
    already, with a link to each.
    """
    hub = home / "hub"
    home.mkdir(parents=True, exist_ok=True)
    if hub.is_dir() and not hub.is_symlink():
        return hub
    if hub.is_symlink() and not hub.exists():
        hub.unlink()
    with suppress(FileExistsError):
        hub.symlink_to(".", target_is_directory=True)
    return home


def _lead_to(home: Path, cache: Path, folder: str) -> None:
    """Let a model be found in `home` as well when it lies in `home/hub`."""
    link = home / folder
    if cache != home and not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(f"hub/{folder}", target_is_directory=True)


def _once(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Each target once: snapshots share blobs."""
    return list({one.target: one for one in wanted}.values())


@dataclass(slots=True)
class _Pull:
    """One snapshot on its way into a model's folder."""

    folder: Path
    model: Model
    snapshot: Snapshot
    bucket: Bucket
    skipped: int = 0
    blobs: dict[str, str] | None = None
    noted: Mapping[str, int] = field(default_factory=dict)

    @property
    def snapshot_folder(self) -> Path:
        """Where its files appear."""
        return self.folder / "snapshots" / self.snapshot.hash

    def missing(self, askers: ThreadPoolExecutor) -> list[Wanted]:
        """What has to be fetched. What is in the way of it is cleared."""
        paths = list(self.snapshot.files)
        self.noted = noted_whole(self.snapshot_folder)
        told = list(askers.map(self.bucket.head, (self.snapshot.files[p].key for p in paths)))
        self.blobs = {
            path: blob_name(stored, stored.meta) for path, stored in zip(paths, told, strict=True)
        }
        wanted = []
        have = askers.map(self._have, paths, told)
        for path, stored, there in zip(paths, told, have, strict=True):
            if there:
                self.skipped += 1
            else:
                remote = Remote(stored.key, stored.size, stored.etag, stored.digest)
                wanted.append(Wanted(remote, self.folder / "blobs" / self.blobs[path]))
        self._clear()
        return wanted

    def _have(self, path: str, stored: Stored) -> bool:
        """Whether a file's blob is there; what was seeded in its place becomes it.

        Its size is enough where this snapshot was whole once, else its bytes are compared.
        """
        assert self.blobs is not None  # noqa: S101 - made just before
        blobs = self.folder / "blobs"
        blob, shown = blobs / self.blobs[path], self.snapshot_folder / path
        if blob.is_file():
            if self._is_right(path, blob, stored):
                return True
            blob.unlink(missing_ok=True)  # nobody is to load it meanwhile
        seeded = shown.is_file() and shown.stat().st_size == stored.size
        if not seeded or stored.digest is None or not holds(shown, stored.digest):
            return False
        if shown.is_symlink() and shown.resolve().parent == blobs.resolve():
            self.blobs[path] = shown.resolve().name  # other snapshots may lead to it by this name
        else:
            blobs.mkdir(parents=True, exist_ok=True)
            os.replace(shown.resolve(), blob)
        return True

    def _is_right(self, path: str, blob: Path, stored: Stored) -> bool:
        if blob.stat().st_size != stored.size:
            return False
        known = self.noted.get(path) == stored.size
        return known or stored.digest is None or holds(blob, stored.digest)

    def _clear(self) -> None:
        """Remove what is stale in this snapshot: files it has not, links that lead nowhere."""
        kept = set(self.snapshot.files)
        for path in sorted(self.snapshot_folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    path.rmdir()  # only when nothing is left in it
            elif path.relative_to(self.snapshot_folder).as_posix() not in kept or not path.exists():
                path.unlink()

    def link(self) -> None:
        """Let every file appear: a link to its blob, as huggingface_hub makes them."""
        for path, blob in (self.blobs or {}).items():
            shown = self.snapshot_folder / path
            target = os.path.relpath(self.folder / "blobs" / blob, shown.parent)
            if shown.is_symlink() and os.readlink(shown) == target:
                continue
            if shown.is_dir() and not shown.is_symlink():
                shutil.rmtree(shown)
            shown.parent.mkdir(parents=True, exist_ok=True)
            beside = shown.with_name(f".{shown.name}{UNFINISHED}")
            beside.unlink(missing_ok=True)
            beside.symlink_to(target)
            os.replace(beside, shown)


def _write_refs(folder: Path, model: Model, bucket: Bucket) -> None:
    """The references of the bucket; `main` leads to one of its snapshots in any case.

    Where it names none, `main` stays if it is one of them, else it becomes the one written last.
    """
    texts = {
        name: bucket.read(stored.key, REFERENCE_BYTES).decode(errors="replace")
        for name, stored in model.refs.items()
        if stored.size <= REFERENCE_BYTES
    }
    hashes = {name: text.strip() for name, text in texts.items()}
    hashes = {name: hash for name, hash in hashes.items() if hash in model.snapshots}
    if "main" not in hashes and _main(folder) not in model.snapshots:
        hashes["main"] = model.newest().hash
    for name, hash in hashes.items():
        path = folder / "refs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.asgard-part")
        beside.write_text(hash)
        os.replace(beside, path)


def _main(folder: Path) -> str:
    try:
        return (folder / "refs" / "main").read_text().strip()
    except OSError:
        return ""
