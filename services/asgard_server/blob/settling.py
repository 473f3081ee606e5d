"""Of several who change a blob at once, whose change holds. Pure: asked in a transaction."""

from __future__ import annotations

from dataclasses import replace

from gimle.asgard.core.errors import BlobOwnedError

from asgard_server.blob.domain import Blob


def settled(now: Blob, before: Blob, after: Blob) -> Blob:
    """What is to be written of a blob that `before` tells of, to become `after`.

    `now` itself where it is another by now, or where somebody else has begun parts of it: then
    nothing is. Raises `BlobOwnedError` for a delete of what somebody has claimed.
    """
    if (now.state, now.attempt) != (before.state, before.attempt):
        return now
    begins = after.upload_id not in (None, before.upload_id)
    if begins and now.upload_id != before.upload_id:
        return now
    if after.state == "deleted" and now.owners:
        raise BlobOwnedError(now.id, now.owners[0])
    return replace(
        after,
        grants_until=max(now.grants_until, after.grants_until),
        owners=now.owners,
        lent_to=now.lent_to,
    )
