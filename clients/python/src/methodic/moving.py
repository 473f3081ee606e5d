"""The bytes of components: by presigned URL, from disk to the store and from the store to disk."""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath

from gimle.asgard.core.errors import AsgardError
from gimle.asgard.core.walking import below
from gimle.asgard.transfer.checking import sha256_of
from gimle.asgard.transfer.digests import Digest
from gimle.asgard.transfer.downloading import download
from gimle.asgard.transfer.errors import TransferError
from gimle.asgard.transfer.fetching import Wanted
from gimle.asgard.transfer.grants import LARGE_BYTES, Begun, Grant, Measured, Outgoing, Part, Remote
from gimle.asgard.transfer.lanes import Work
from gimle.asgard.transfer.line import FilePart
from gimle.asgard.transfer.progress import Listener, Meter, Progress
from gimle.asgard.transfer.requesting import send
from gimle.asgard.transfer.uploading import upload
from gimle.asgard.transfer.wire import Wire

from methodic import paths
from methodic.answers import Answer
from methodic.errors import ChronicleError, UploadError
from methodic.transport import Transport

CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and the component it becomes; the digest of one that goes in a single request."""

    path: Path
    name: str
    size: int
    sha256: str | None
    content_type: str

    def to_json(self) -> dict[str, object]:
        """As the server is told of it."""
        told: dict[str, object] = {
            "name": self.name,
            "size_bytes": self.size,
            "content_type": self.content_type,
        }
        return told if self.sha256 is None else told | {"sha256": self.sha256}


def sources(folder: Path) -> list[Source]:
    """Every file below a folder, by its path inside with "/" between.

    Raises UploadError, and OSError for what cannot be read.
    """
    found = [Path(each.path) for each in below(folder) if each.is_file()] if folder.is_dir() else []
    if not found:
        raise UploadError(f"{folder} has no files: an asset has one component at least")
    return [source(path, path.relative_to(folder).as_posix()) for path in found]


def source(path: Path, name: str, content_type: str | None = None) -> Source:
    """A file, measured. Raises OSError."""
    size = path.stat().st_size
    digest = sha256_of(path) if size <= LARGE_BYTES else None
    return Source(path, name, size, digest, content_type or guessed(name))


def guessed(name: str) -> str:
    """A content type by a file's name."""
    return mimetypes.guess_type(name)[0] or CONTENT_TYPE


def put(url: str, path: Path, content_type: str, headers: Mapping[str, str] | None = None) -> None:
    """Send a file to a presigned URL, without any credentials. Raises UploadError, OSError."""
    grant = Grant("PUT", url, {"content-type": content_type, **(headers or {})})
    with path.open("rb") as file, Wire() as wire:
        size = path.stat().st_size
        body = FilePart(file.fileno(), 0, size)
        try:
            send(wire, Work(()), str(path), grant, body, lambda: grant)
        except TransferError as error:
            raise UploadError(str(error)) from error


class AssetUploads:
    """The upload of one asset's components, by what the server has answered to its creation.

    Files of one request go by the grants that came with the asset. Of larger ones, to be sent with
    `upload` of the transfer engine, the grants of parts are asked for as they come.
    """

    wants_sha256 = False

    def __init__(self, transport: Transport, asset_id: str, uploads: Sequence[Answer]) -> None:
        self._transport = transport
        self._asset_id = asset_id
        self._uploads = {each.name: each for each in uploads}

    def grant(self, name: str) -> Grant | None:
        """The grant that came with the asset; None for a component that is there already."""
        asked = self._uploads.get(name)
        return None if asked is None else _granted(asked)

    def renewed(self, name: str) -> Grant:
        """The same, signed anew: many files may take longer than a grant holds."""
        body = {"operation": "write", "components": [name]}
        path = f"{paths.asset(self._asset_id)}/presign"
        return _granted(self._transport.post(path, body, safe=True).uploads[0])

    def begin(self, file: Outgoing, size: int) -> Begun | None:
        """The upload in parts that the server has begun, with what has arrived of it."""
        asked = self._uploads.get(file.name)
        if asked is None:
            return None
        path = f"/v1/blobs/{asked.parts_blob_id}/parts"
        plan = self._transport.get(path, page_size=1).plan
        arrived = {
            each.number: Part(each.number, each.size_bytes, bytes.fromhex(each.sha256))
            for each in self._transport.pages(path, "parts", page_size=1_000)
        }
        return Begun(str(asked.parts_blob_id), file.name, int(plan.part_size_bytes), arrived)

    def parts(self, begun: Begun, parts: Sequence[Part]) -> Sequence[Grant]:
        """Grants of these parts."""
        asked = [{"number": each.number, "sha256": each.sha256.hex()} for each in parts]
        path = f"/v1/blobs/{begun.id}/parts:sign"
        return [
            _granted(each)
            for each in self._transport.post(path, {"parts": asked}, safe=True).grants
        ]

    def complete(self, begun: Begun, file: Measured, parts: Sequence[Part]) -> None:
        """The server does so when the asset is finalized."""

    def whole(self, files: Sequence[Measured]) -> Sequence[Grant | None]:
        """Those of one request do not go this way."""
        return [self.grant(each.file.name) for each in files]

    def arrived(self, files: Sequence[Measured]) -> None:
        """The server looks when the asset is finalized."""

    def there(self, file: Measured) -> bool:
        """Nobody knows before the asset is finalized: it is sent again, and refused if it is."""
        return False


def _granted(asked: Answer) -> Grant:
    ends = asked.get("expires_at")
    expires = None if ends is None else datetime.fromisoformat(ends).timestamp()
    return Grant(asked.method or "PUT", asked.url, asked.get("headers") or {}, expires)


def send_all(
    files: Sequence[Source],
    to: AssetUploads,
    *,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Send files as the components of an asset. Raises UploadError, OSError, ChronicleError."""
    meter = Meter(len(files), sum(each.size for each in files), progress)
    # What has its digest already is not read for it again: the store compares.
    small = [each for each in files if each.sha256 is not None]
    large = [Outgoing(each.path, each.name, each.content_type) for each in files if not each.sha256]
    try:
        work = Work((), stop)
        work.add(partial(_send, each, to, meter, work) for each in small)
        work.run()
        if large:
            meter.add(*_moved(upload(large, to, progress=_within(meter, progress), stop=stop)))
    except TransferError as error:
        raise UploadError(str(error)) from error
    return meter.end()


def _send(file: Source, to: AssetUploads, meter: Meter, work: Work, wire: Wire) -> None:
    grant = to.grant(file.name)
    if grant is not None:
        with file.path.open("rb", buffering=0) as opened:
            body = FilePart(opened.fileno(), 0, file.size)
            send(wire, work, file.name, grant, body, partial(to.renewed, file.name))
    meter.add(1, file.size, 0 if grant is None else file.size)


def _within(meter: Meter, progress: Listener | None) -> Listener | None:
    """A listener to large files that tells of all: the small ones are done by then."""
    if progress is None:
        return None
    done = meter.now()
    return lambda now: progress(
        replace(
            done,
            files_done=done.files_done + now.files_done,
            bytes_done=done.bytes_done + now.bytes_done,
            bytes_moved=done.bytes_moved + now.bytes_moved,
        )
    )


def _moved(done: Progress) -> tuple[int, int, int]:
    return done.files_done, done.bytes_done, done.bytes_moved


class _Urls:
    """Where components can be read; asked for anew when the URLs have expired."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        return [Grant("GET", self._urls[each.name]) for each in objects]

    def described(self, remote: Remote) -> Remote:
        return remote


def fetch_all(
    asset: Answer,
    folder: Path,
    again: Callable[[], Answer],
    *,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> list[Path]:
    """Fetch every component into a folder; answer the files.

    Each appears whole, its digest compared where the server knows one; those that are there
    already, and right, are not fetched again. Raises UploadError, ChronicleError.
    """
    wanted = [_wanted(each, folder) for each in asset.components]
    missing = [one for one in wanted if not _is_there(one)]
    try:
        download(missing, _Urls(asset.download_urls), progress=progress, stop=stop)
    except TransferError as error:
        if not _may_have_expired(error):
            raise UploadError(f"asset {asset.id}: {error}") from error
        try:
            download(missing, _Urls(again().download_urls), progress=progress, stop=stop)
        except AsgardError as second:
            raise UploadError(f"asset {asset.id}: {second}") from second
    return [one.target for one in wanted]


def _wanted(component: Answer, folder: Path) -> Wanted:
    name = str(component.name)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ChronicleError(f"component {name!r} would lie outside {folder}: it is not fetched")
    digest = component.get("sha256")
    known = Digest("sha256", bytes.fromhex(digest)) if digest else None
    return Wanted(Remote(name, component.size_bytes, "", known), folder / path)


def _is_there(one: Wanted) -> bool:
    digest = one.remote.digest
    if digest is None or not one.target.is_file():
        return False
    is_long = one.target.stat().st_size == one.remote.size
    return is_long and bytes.fromhex(sha256_of(one.target)) == digest.value


def _may_have_expired(error: TransferError) -> bool:
    return getattr(error, "status", None) in (400, 401, 403)
