"""Why the file system refused, in our words."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from gimle.asgard.core.errors import (
    AsgardError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound="Placed")


class Placed(Protocol):
    """Something that lies in a place."""

    @property
    def path(self) -> str:
        """The place."""


def naming_the_place(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], _R]:
    """Let a method raise the errors of `unavailable` instead of OSError."""

    @wraps(method)
    def wrapper(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except AsgardError:
            raise
        except OSError as error:
            raise unavailable(self.path, error) from error

    return wrapper


def unavailable(place: str, error: OSError) -> AsgardError:
    """Say in our words why the file system refused.

    A StorageFullError, a StorageReadOnlyError, else a StorageUnavailableError.
    """
    at = error.filename or place
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(place)
    if error.errno == errno.EROFS:
        return StorageReadOnlyError(place, f"{at} is mounted for reading only; mount it to write")
    if error.errno in (errno.EACCES, errno.EPERM):
        if _may_be_read(at):
            mend = f"{error.strerror}: {at}; allow this user to write there"
            return StorageReadOnlyError(place, mend)
        mend = f"{error.strerror}: {at}; allow this user to read and write there"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        mend = f"{at} is missing; was the folder moved or unmounted?"
    else:
        mend = f"{error.strerror or error}: {at}"
    return StorageUnavailableError(place, mend)


def _may_be_read(path: str) -> bool:
    """Whether what is at `path`, or would be, is kept from this user only for writing."""
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK)
