"""Using a grant: the one request it allows, again where that may help, anew when it has expired."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from gimle.asgard.transfer.bucket import refusal
from gimle.asgard.transfer.errors import RefusedError, TooLargeError, WrongBytesError
from gimle.asgard.transfer.grants import Grant, Measured, Uploads
from gimle.asgard.transfer.lanes import Work
from gimle.asgard.transfer.line import Body
from gimle.asgard.transfer.patience import patiently
from gimle.asgard.transfer.wire import Wire

ONE_REQUEST_BYTES = 5 * 10**9
"""What S3 takes as the body of one request, a part or a whole object."""

_MARGIN_S = 30.0
# Said by MinIO, and by versitygw, also when the folder of a key, left empty by a delete, vanished
# while the object was on its way into it.
_VANISHED = {"AccessDenied", "ExistingObjectIsDirectory"}
_DENIED_PAUSES_S = (0.02, 0.2)
_MISMATCHES = {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}


def fresh(grant: Grant, renew: Callable[[], Grant]) -> Grant:
    """The grant, or another one when it is about to expire."""
    if grant.expire_time is None or time.time() < grant.expire_time - _MARGIN_S:
        return grant
    return renew()


def require_one_request(
    name: str, size: int, mend: str = "upload it in parts (`asgard blob put` does)"
) -> None:
    """Raise TooLargeError for more bytes than a store takes in one request.

    It would say so after the last of them. `mend` is what the caller can do about it.
    """
    if size > ONE_REQUEST_BYTES:
        raise TooLargeError(name, size, ONE_REQUEST_BYTES, mend)


def send(
    wire: Wire,
    work: Work,
    name: str,
    grant: Grant,
    body: Body,
    renew: Callable[[], Grant],
    there: Callable[[], bool] = lambda: False,
    *,
    doubtful: bool = False,
) -> str:
    """Send a body; answer its ETag, "" when the place had it already.

    `there` is asked before a body is sent again: an attempt of which nothing is known may have
    brought it. A store that has it refuses it early and hangs up, which a proxy before it tells
    as a failure of its own (nginx: 502), however often it is tried. `doubtful`: there was such an
    attempt before this call.

    Raises TooLargeError, RefusedError, WrongBytesError, WireError, and what `renew` and `there` do.
    """
    require_one_request(name, len(body) if isinstance(body, bytes) else body.size)

    def once() -> str:
        nonlocal doubtful
        work.check()
        if doubtful and there():
            return ""
        doubtful = True
        use = fresh(grant, renew)
        with wire.request(use.method, use.url, use.headers, body) as answer:
            said = answer.read()
        if answer.status == 412:
            # Written once: by an attempt of ours whose answer was lost, or by somebody with the
            # same bytes; whoever completes the upload looks which.
            return ""
        if answer.status >= 300:
            raise refusal(f"upload of {name}", answer.status, said)
        return answer.headers.get("etag", "")

    for pause in (*_DENIED_PAUSES_S, None):
        try:
            return patiently(once, work.stop)
        except RefusedError as error:
            if error.code in _MISMATCHES:
                raise WrongBytesError(
                    name, "it was changed while it was sent; send it again"
                ) from None
            if error.code not in _VANISHED or pause is None:
                raise
        work.stop.wait(pause)
    raise AssertionError  # the last attempt returns or raises


def send_whole(
    wire: Wire,
    work: Work,
    to: Uploads,
    file: Measured,
    grant: Grant,
    body: Body,
    *,
    doubtful: bool = False,
) -> None:
    """Send a file in one request. Raises as `send`, WrongBytesError where others were faster."""

    def renew() -> Grant:
        anew = to.whole([file])[0]
        if anew is None:
            raise WrongBytesError(file.file.name, "somebody else has sent it meanwhile")
        return anew

    there = partial(to.there, file)
    send(wire, work, file.file.name, grant, body, renew, there, doubtful=doubtful)


def reading(grant: Grant, etag: str, first: int | None = None, last: int = 0) -> Mapping[str, str]:
    """The headers to read a range of an object with, as long as it is the same object."""
    headers = dict(grant.headers)
    if first is not None:
        headers["range"] = f"bytes={first}-{last}"
    if etag:
        headers["if-match"] = etag
    return headers
