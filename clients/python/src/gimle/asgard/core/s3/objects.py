"""Objects below a place: whole reads, and writes that say what must be there before them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError
from gimle.asgard.core.full_stores import is_full
from gimle.asgard.core.s3.place import Connection, Place

PART_BYTES = 1 << 26
_BATCH = 1_000
_PAUSES_S = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
# What a store over a file system says when the folder of a key, left empty by a delete, vanished
# while the object was on its way into it: versitygw the one, MinIO the other (5 of 8,253 puts).
_VANISHED = {"ExistingObjectIsDirectory", "AccessDenied"}
_MISSING = {"NoSuchKey", "404", "NotFound"}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "409", "412"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "Forbidden"}


class ConflictError(Exception):
    """What must be there before a write (nothing, or a certain etag) is not."""


@dataclass(frozen=True)
class Found:
    """An object as it is now. `modified` is by the store's clock."""

    body: bytes
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Entry:
    """An object in a listing: its path below the place. `age_s` is by the store's clock."""

    path: str
    size: int
    etag: str
    age_s: float


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _speaking(
    method: Callable[Concatenate[Objects, _P], _R],
) -> Callable[Concatenate[Objects, _P], _R]:
    """Let a method raise the errors of core.errors instead of botocore's."""

    @wraps(method)
    def wrapper(self: Objects, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except (ClientError, BotoCoreError) as error:
            raise translated(self.place, error) from error

    return wrapper


class Objects:
    """The objects of one place. Thread-safe; every method raises StorageUnavailableError."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._connection = Connection(place)

    @property
    def _client(self) -> Any:
        return self._connection.client()

    def _at(self, path: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": self.place.key(path)}

    @_speaking
    def get(self, path: str) -> Found | None:
        """Read an object whole, None when there is none."""
        try:
            answer = self._client.get_object(**self._at(path))
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        with answer["Body"] as stream:
            body = stream.read()
        return Found(body, answer["ETag"], answer["LastModified"])

    def there(self, path: str) -> bool:
        """Whether there is an object with at least a byte."""
        return bool(self.size(path))

    @_speaking
    def size(self, path: str) -> int | None:
        """How many bytes an object has, None when there is none."""
        try:
            return int(self._client.head_object(**self._at(path))["ContentLength"])
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise

    @_speaking
    def read_into(self, path: str, offset: int, into: memoryview) -> bool:
        """Fill `into` from `offset` on; answer False when there is no such object."""
        if not into:
            return True
        wanted = f"bytes={offset}-{offset + len(into) - 1}"
        try:
            answer = self._client.get_object(**self._at(path), Range=wanted)
        except ClientError as error:
            if _code(error) in _MISSING:
                return False
            raise
        with answer["Body"] as stream:
            while into:
                # A read of bounded size: the whole body would lie in memory twice.
                part = stream.read(min(len(into), 1 << 20))
                if not part:
                    raise StorageUnavailableError(
                        str(self.place), f"{path} ended before its time; try again"
                    )
                into[: len(part)] = part
                into = into[len(part) :]
        return True

    @_speaking
    def create(self, path: str, body: bytes) -> str | None:
        """Write a new object; answer its etag, None when there is one already."""
        try:
            return self._put(path, body, IfNoneMatch="*")
        except ConflictError:
            return None

    @_speaking
    def create_parts(self, path: str, size: int, parts: Iterable[bytes]) -> bool:
        """Write a new object of `size` bytes from parts; answer False when there is one already.

        Each part but the last has PART_BYTES bytes.
        """
        if size <= PART_BYTES:
            return self.create(path, b"".join(parts)) is not None
        begun = self._client.create_multipart_upload(**self._at(path))
        upload = {**self._at(path), "UploadId": begun["UploadId"]}
        try:
            done = [
                {
                    "PartNumber": number,
                    "ETag": self._client.upload_part(**upload, PartNumber=number, Body=part)[
                        "ETag"
                    ],
                }
                for number, part in enumerate(parts, 1)
            ]
            self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": done}, IfNoneMatch="*"
            )
        except BaseException as error:
            self._client.abort_multipart_upload(**upload)
            if isinstance(error, ClientError) and _code(error) in _CONFLICT:
                return False
            raise
        return True

    @_speaking
    def replace(self, path: str, body: bytes, etag: str) -> str:
        """Write an object in the place of the one with `etag`; answer the new etag.

        Raises ConflictError when another one is there, or none.
        """
        return self._put(path, body, IfMatch=etag)

    @_speaking
    def put(self, path: str, body: bytes) -> None:
        """Write an object, whatever is there."""
        self._put_object(path, body)

    def _put_object(self, path: str, body: bytes, **condition: str) -> str:
        for pause in _PAUSES_S:
            try:
                answer = self._client.put_object(**self._at(path), Body=body, **condition)
                return str(answer["ETag"])
            except ClientError as error:
                if _code(error) not in _VANISHED or pause == _PAUSES_S[-1]:
                    raise
            time.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    def _put(self, path: str, body: bytes, **condition: str) -> str:
        try:
            return self._put_object(path, body, **condition)
        except ClientError as error:
            missing = _code(error) in _MISSING and "IfMatch" in condition
            if _code(error) not in _CONFLICT and not missing:
                raise
            if error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0):
                # The first attempt may have done it, and only its answer been lost.
                there = self.get(path)
                if there is not None and there.body == body:
                    return there.etag
            raise ConflictError(path) from error

    @_speaking
    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        keys = [{"Key": self.place.key(path)} for path in paths]
        if len(keys) == 1:
            self._client.delete_object(Bucket=self.place.bucket, **keys[0])
            return
        for start in range(0, len(keys), _BATCH):
            answer = self._client.delete_objects(
                Bucket=self.place.bucket,
                Delete={"Objects": keys[start : start + _BATCH], "Quiet": True},
            )
            for error in answer.get("Errors", ()):
                if error.get("Code") not in _MISSING:
                    raise StorageUnavailableError(
                        str(self.place), f"{error.get('Key')} cannot be deleted: {error}"
                    )

    @_speaking
    def list(self, folder: str) -> Iterator[Entry]:
        """List the objects directly in `folder`, by name.

        Raises StorageUnavailableError, before anything is answered, when the listing does not
        end well.
        """
        start = self.place.key(f"{folder}/")
        skip = len(self.place.key(""))
        found: list[Entry] = []
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.place.bucket, Prefix=start, Delimiter="/"
        )
        for page in pages:
            date = page["ResponseMetadata"]["HTTPHeaders"].get("date")
            for item in page.get("Contents", ()):
                now = item["LastModified"] if date is None else parsedate_to_datetime(date)
                age = (now - item["LastModified"]).total_seconds()
                found.append(Entry(item["Key"][skip:], item["Size"], item["ETag"], age))
        return iter(found)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def translated(place: Place, error: ClientError | BotoCoreError) -> AsgardError:
    """Say in our words why the store refused."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        mend = "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return StorageUnavailableError(str(place), mend)
    if isinstance(error, BotoCoreError):
        mend = f"{error}; is the store running there?"
        return StorageUnavailableError(str(place), mend, passing=True)
    code = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    said = error.response.get("Error", {}).get("Message") or code
    if is_full(code, status, said):
        return StorageFullError(str(place))
    if code == "NoSuchBucket":
        mend = f"there is no bucket {place.bucket}; create it, or set the endpoint of its store"
    elif code in _DENIED:
        mend = f"{said} ({code}); check the AWS_* credentials and what they allow"
    else:
        mend = f"{said} ({code})"
    return StorageUnavailableError(str(place), mend, passing=(status or 0) >= 500)
