"""A job's files from the pod that made them to the store, by the URLs it was given.

What a pod needs and no more: the standard library, no gRPC. Files are sent from disk as they are.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.transfer.bucket import refusal
from gimle.asgard.transfer.errors import RefusedError, TooLargeError, TransferStoppedError
from gimle.asgard.transfer.line import FilePart
from gimle.asgard.transfer.progress import Listener, Meter
from gimle.asgard.transfer.requesting import require_one_request
from gimle.asgard.transfer.wire import Wire

ATTEMPTS, PAUSE_S, SILENCE_S = 3, 2.0, 60.0
"""How often a file is sent at most, what lies between, how long the store may be silent."""

LANES = 4
"""How many files are sent at a time."""

_OF_THE_FILE = (InvalidFieldError, TooLargeError, FileNotFoundError, PermissionError)
_URL = re.compile(r"https?://[!-~]+")
_HEADERS = {"Content-Type": "application/json"}
_FRESH = "ask for fresh URLs: claim or resume the job, then upload again"
_MENDS = {
    "SignatureDoesNotMatch": "the URL was altered on its way, or a proxy changes its Host",
    "NoSuchBucket": "make the bucket that MINIO_BUCKET names, then upload again",
    "InvalidAccessKeyId": f"the key that signed the URL was removed; {_FRESH}",
}


@dataclass(frozen=True, slots=True)
class SentFile:
    """What has become of one file; `error` says why it was not sent, "" when that is no matter."""

    name: str
    outcome: Literal["uploaded", "skipped", "failed"]
    size_bytes: int = 0
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What has become of all files, in the order of their URLs.

    It is true when every file that was produced has arrived, and at least one was produced.
    """

    files: tuple[SentFile, ...]

    @property
    def produced(self) -> bool:
        """Whether there was a file to send."""
        return any(file.outcome != "skipped" for file in self.files)

    def __bool__(self) -> bool:
        return self.produced and all(file.outcome != "failed" for file in self.files)


def upload_artifacts(
    folder: str | Path,
    urls: Mapping[str, str],
    *,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> Uploaded:
    """Send each file of `urls` that `folder` has; one that it has not was not produced.

    A file is PUT as it is, as application/json; 200 and 204 are success, anything else is tried
    again, three times in all with 2 s between, and 60 s of silence are a failure. The same call may
    be made again: it sends all files anew.

    Args:
        folder: where the simulation has written its files.
        urls: a presigned URL by file name, as `generate_upload_urls` and ClaimJob give them.
        progress: hears how far it is, ten times a second at most, in any thread.
        stop: when it is set, the call ends.

    Raises InvalidFieldError (a ValueError) for a name that leads out of the folder and a URL that
    is none, TransferStoppedError. What fails in sending is told in the answer, never raised.
    """
    for name, url in urls.items():
        _check(name, url)
    found = {name: Path(folder) / name for name in urls}
    sizes = {name: path.stat().st_size for name, path in found.items() if path.is_file()}
    meter = Meter(len(sizes), sum(sizes.values()), progress)
    sender = _Sender(meter, stop or threading.Event())
    with ThreadPoolExecutor(LANES) as lanes:
        files = lanes.map(lambda name: sender.sent(found[name], urls[name]), urls)
        done = Uploaded(tuple(files))
    meter.end()
    return done


def _check(name: object, url: object) -> None:
    if not isinstance(name, str) or name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f]", name):
        raise InvalidFieldError("grants", f"{name!r} is not a file's name", "give names alone")
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise InvalidFieldError(
            "grants", f"that of {name} is not a URL of http or https", "give presigned URLs"
        )


@dataclass(frozen=True, slots=True)
class _Sender:
    meter: Meter
    stop: threading.Event

    def sent(self, path: Path, url: str) -> SentFile:
        """Send one file, as often as it takes and may take. Raises TransferStoppedError."""
        if not path.exists() and not path.is_symlink():
            return SentFile(path.name, "skipped")
        size = path.stat().st_size if path.is_file() else 0
        error = ""
        for attempt in range(1, ATTEMPTS + 1):
            if attempt > 1:
                self.stop.wait(PAUSE_S)
            self._heed()
            try:
                size = self._put(path, url)
            except TransferStoppedError:
                raise
            except _OF_THE_FILE as problem:
                # The store was not asked, and another attempt finds no other file.
                return SentFile(path.name, "failed", size, attempt - 1, str(problem))
            except OSError as problem:
                error = _said(problem, url)
            else:
                return SentFile(path.name, "uploaded", size, attempt)
        return SentFile(path.name, "failed", size, ATTEMPTS, error)

    def _put(self, path: Path, url: str) -> int:
        """Send a file once; answer its size. Raises OSError, InvalidFieldError."""
        if not path.is_file():
            raise InvalidFieldError(path.name, "it is no file", "remove it, or write the file")
        told = 0

        def hear(count: int) -> None:
            nonlocal told
            self._heed()
            told += count
            self.meter.add(done=count, moved=count)

        with path.open("rb") as file, Wire(SILENCE_S, SILENCE_S) as wire:
            size = file.seek(0, 2)
            require_one_request(path.name, size, "leave less in it")
            body = FilePart(file.fileno(), 0, size, hear)
            try:
                with wire.request("PUT", url, _HEADERS, body) as answer:
                    said = answer.read()
                if answer.status not in (200, 204):
                    raise refusal(path.name, answer.status, said)
            except BaseException:
                self.meter.add(done=-told)
                raise
        self.meter.add(files=1)
        return size

    def _heed(self) -> None:
        if self.stop.is_set():
            raise TransferStoppedError


def _said(problem: Exception, url: str) -> str:
    """What went wrong and its mend; never the URL, which is a key to the store."""
    if not isinstance(problem, RefusedError):
        return str(problem)
    expired = _expired(url)
    if problem.status in (400, 401, 403) and (expired or "expired" in str(problem).lower()):
        return f"the URL has expired{expired}; {_FRESH}"
    mend = _MENDS.get(problem.code, "")
    return f"{problem}; {mend}" if mend else str(problem)


def _expired(url: str) -> str:
    """When a URL ended, as it says itself; "" while it is good or when it does not say."""
    query = parse_qs(urlsplit(url).query)
    try:
        made = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        end = made + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    except (KeyError, ValueError, OverflowError):
        return ""
    return f" at {end:%Y-%m-%d %H:%M} UTC" if end.timestamp() < time.time() else ""
