"""Objects below a place, asynchronously: whole reads, and writes on condition of what is there.

obstore talks to the store, but for small puts (`s3_puts`): one costs it 0.2 ms of CPU, a client
of botocore's 1.8 ms. Both try once; trying again is decided here, where it is known whether a
condition that fails may have been met by an attempt whose answer was lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import boto3
import obstore
from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError
from gimle.asgard.core.s3.objects import ConflictError
from gimle.asgard.core.s3.place import Place
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from asgard_server.store.s3_puts import puts_of

# A store that is restarted is waited for; whoever waits longer is told.
PATIENCE_S = 15.0
# Shorter than the time after which others take a writer for dead.
ATTEMPT_S = 8.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
# Said by a store over a file system when the folder of a key, left empty by a delete, vanished
# while the object was on its way into it.
_PASSING = {"ExistingObjectIsDirectory", "SlowDown"}

T = TypeVar("T")


class Object(NamedTuple):
    """An object as it is now. `modified` is by the store's clock."""

    body: bytes
    etag: str
    modified: datetime


class Head(NamedTuple):
    """How an object begins; `size` is of all of it."""

    body: bytes
    etag: str
    size: int


class Made(NamedTuple):
    """A new object's etag. `unanswered`: another attempt to write it may still arrive."""

    etag: str
    unanswered: bool


class Listed(NamedTuple):
    """An object in a listing: its path below the place. `modified` is by the store's clock."""

    path: str
    size: int
    etag: str
    modified: datetime


class Objects:
    """The objects of one place. Methods raise `StorageUnavailableError`, `StorageFullError`.

    They wait for a store that does not answer, PATIENCE_S at most.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._skip = len(place.key(""))
        self._store = _store(place, timeout=timedelta(seconds=ATTEMPT_S))
        self._puts = puts_of(place, _endpoint(place), _region(place), ATTEMPT_S)
        # Arrays may be of any size.
        self._long = _store(place, read_timeout=timedelta(seconds=30))

    async def get(self, path: str) -> Object | None:
        """Read an object whole, None when there is none."""

        async def read() -> Object:
            answer = await obstore.get_async(self._store, self.place.key(path))
            body = await answer.bytes_async()
            meta = answer.meta
            return Object(bytes(body), meta["e_tag"] or "", meta["last_modified"])

        try:
            return await self._patiently(read)
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None

    def get_now(self, path: str) -> Object | None:
        """Read an object whole, None when there is none; for a thread, and without patience."""
        try:
            answer = obstore.get(self._store, self.place.key(path))
            meta = answer.meta
            return Object(bytes(answer.bytes()), meta["e_tag"] or "", meta["last_modified"])
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None
        except BaseError as error:
            raise self._said(error) from error

    async def etag(self, path: str) -> str | None:
        """The etag of an object, None when there is none."""

        async def look() -> Any:
            return await obstore.head_async(self._store, self.place.key(path))

        try:
            meta = await self._patiently(look)
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None
        return str(meta["e_tag"]) if meta["size"] else None

    def etag_now(self, path: str) -> str | None:
        """The etag of an object, None when there is none; for a thread, without patience."""
        try:
            meta = obstore.head(self._store, self.place.key(path))
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None
        except BaseError as error:
            raise self._said(error) from error
        return str(meta["e_tag"]) if meta["size"] else None

    async def create(self, path: str, body: bytes) -> Made | None:
        """Write a new object; answer None when there is one already."""
        try:
            return await self._put(path, body, "create")
        except ConflictError:
            return None

    async def replace(self, path: str, body: bytes, etag: str) -> str:
        """Write an object in the place of the one with `etag`; answer the new etag.

        Raises ConflictError when another one is there, or none.
        """
        return (await self._put(path, body, {"e_tag": etag})).etag

    async def _put(self, path: str, body: bytes, mode: Any) -> Made:
        key = self.place.key(path)
        attempts = unanswered = 0

        async def write() -> str:
            nonlocal attempts, unanswered
            attempts += 1
            try:
                return await self._put_once(key, body, mode)
            except BaseError as error:
                unanswered += _status(error) is None
                raise

        try:
            return Made(await self._patiently(write), unanswered > 0)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            self._refuse_missing_bucket(error)
            if attempts > 1:
                # The first attempt may have done it, and only its answer been lost.
                there = await self.get(path)
                if there is not None and there.body == body:
                    return Made(there.etag, unanswered > 0)
            raise ConflictError(path) from error

    async def _put_once(self, key: str, body: bytes, mode: Any) -> str:
        if self._puts is not None:
            condition = ("if-none-match", "*") if mode == "create" else ("if-match", mode["e_tag"])
            etag = await self._puts.put(key, body, condition)
            if etag is not None:
                return etag
        answer = await obstore.put_async(self._store, key, body, mode=mode, use_multipart=False)
        return str(answer["e_tag"])

    def close(self) -> None:
        """Close connections that are kept for small puts."""
        if self._puts is not None:
            self._puts.close()

    async def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        keys = [self.place.key(path) for path in paths]
        if keys:

            async def remove() -> None:
                await obstore.delete_async(self._store, keys)

            await self._patiently(remove)

    def list(self, folder: str, behind: str | None = None) -> Iterator[Listed]:
        """List the objects directly in `folder`, by name, those > `behind`; for a thread.

        Raises StorageUnavailableError when the listing does not end well, at once or midway.
        """
        start = f"{folder}/"
        stream: Any = obstore.list(
            self._store,
            prefix=self.place.key(folder),
            offset=None if behind is None else self.place.key(start + behind),
            chunk_size=1_000,
        )
        try:
            for batch in stream:
                for meta in batch:
                    path = meta["path"][self._skip :]
                    if path.startswith(start) and "/" not in path[len(start) :]:
                        yield Listed(path, meta["size"], meta["e_tag"] or "", meta["last_modified"])
        except FileNotFoundError as error:
            raise self._said(error) from error
        except BaseError as error:
            raise self._said(error) from error

    def head_now(self, path: str, length: int) -> Head | None:
        """The first bytes of an object, and how many there are; for a thread, without patience."""
        try:
            answer = obstore.get(self._long, self.place.key(path), options={"range": (0, length)})
            meta = answer.meta
            return Head(bytes(answer.bytes()), meta["e_tag"] or "", meta["size"])
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None
        except BaseError as error:
            raise self._said(error) from error

    def part_now(self, path: str, start: int, length: int, etag: str | None = None) -> bytes | None:
        """Read some bytes of an object, fewer at its end; None when there is none, or not of this
        etag any more. For a thread, and without patience.
        """
        wanted: Any = {"range": (start, start + length)}
        if etag is not None:
            wanted["if_match"] = etag
        try:
            answer = obstore.get(self._long, self.place.key(path), options=wanted)
            return bytes(answer.bytes())
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return None
        except PreconditionError:
            return None
        except BaseError as error:
            raise self._said(error) from error

    def download(self, path: str, handle: int) -> bool:
        """Write an object's bytes to a file; answer False when there is none. For a thread."""
        try:
            for part in obstore.get(self._long, self.place.key(path)).stream(1 << 22):
                data = memoryview(part)
                while data:
                    data = data[os.write(handle, data) :]
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return False
        except BaseError as error:
            raise self._said(error) from error
        return True

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that may be done again, as long as the store does not answer."""
        end = time.monotonic() + PATIENCE_S
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await work()
            except FileNotFoundError:
                raise
            except BaseError as error:
                if not _passes(error):
                    if isinstance(error, AlreadyExistsError | PreconditionError):
                        raise
                    raise self._said(error) from error
                if time.monotonic() + pause > end:
                    raise self._said(error) from error
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - not for secrets
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _refuse_missing_bucket(self, error: Exception) -> None:
        if _code(error) == "NoSuchBucket":
            raise self._said(error) from error

    def _said(self, error: Exception) -> AsgardError:
        """The store's refusal in our words."""
        place, code, status = str(self.place), _code(error), _status(error)
        if code in ("XMinioStorageFull", "QuotaExceeded") or status == 507:
            return StorageFullError(place)
        if code == "NoSuchBucket":
            bucket = self.place.bucket
            mend = f"there is no bucket {bucket}; create it, or set the endpoint of its store"
        elif isinstance(error, PermissionDeniedError | UnauthenticatedError):
            mend = f"it refuses us ({code or status}); check its keys and what they allow"
        elif status is not None:
            mend = f"it answers {status} {code}; is it in order?"
        else:
            mend = "it does not answer; is the store running there?"
        return StorageUnavailableError(place, mend)


def _endpoint(place: Place) -> str | None:
    return (
        place.endpoint
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or None
    )


def _region(place: Place) -> str:
    return str(place.credentials.get("region_name") or boto3.Session().region_name or "us-east-1")


def _store(place: Place, **client: Any) -> S3Store:
    given = place.credentials
    endpoint = _endpoint(place)
    options: dict[str, Any] = {
        "region": _region(place),
        "virtual_hosted_style_request": endpoint is None and "." not in place.bucket,
    }
    if endpoint is not None:
        options["endpoint"] = endpoint
    if place.encryption:
        options["server_side_encryption"] = place.encryption["ServerSideEncryption"]
        if "SSEKMSKeyId" in place.encryption:
            options["sse_kms_key_id"] = place.encryption["SSEKMSKeyId"]
    if "aws_access_key_id" in given:
        options["access_key_id"] = given["aws_access_key_id"]
        options["secret_access_key"] = given["aws_secret_access_key"]
        if given.get("aws_session_token"):
            options["session_token"] = given["aws_session_token"]
    else:
        try:
            options["credential_provider"] = Boto3CredentialProvider(boto3.Session())
        except ValueError as error:
            mend = "no credentials; set ASGARD_S3_ACCESS_KEY and ASGARD_S3_SECRET_KEY, or AWS_*"
            raise StorageUnavailableError(str(place), mend) from error
    settings: Any = {
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=3),
        **client,
    }
    return S3Store(
        place.bucket,
        client_options=settings,
        retry_config={"max_retries": 0},
        **options,
    )


def _passes(error: BaseError) -> bool:
    """Whether the same request may be answered in a moment."""
    status, code = _status(error), _code(error)
    if code in _PASSING:
        return True
    if isinstance(error, AlreadyExistsError | PreconditionError):
        # 409: another write of this very key is under way.
        return status == 409
    if status is None:
        return not isinstance(error, PermissionDeniedError | UnauthenticatedError)
    return status in (408, 409, 429) or (status >= 500 and status != 507)


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""
