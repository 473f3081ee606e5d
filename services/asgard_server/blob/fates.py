"""What becomes of bytes that lie in the store, by the row of their blob. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from asgard_server.blob import domain
from asgard_server.blob.domain import Blob
from asgard_server.blob.holdings import Holding


class Leftover(NamedTuple):
    """Bytes that nobody needs. They may be removed when nothing has changed them for so long."""

    kind: str
    problem: str
    after_seconds: float


Fate = Leftover | Literal["kept", "going"]
"""`kept`: the bytes of a blob; `going`: an upload's that goes on, or the sweeper's."""


def fate(
    held: Holding, row: Blob | None, now: datetime, young_seconds: float, margin_seconds: float
) -> Fate:
    """What becomes of `held`, whose blob is `row`; None where no row has its id.

    A URL that holds may still bring bytes under its key: those are left to the sweeper until it
    has ended. What no URL was ever given out for (a copy, parts of an upload that another one
    overtook) needs no such patience.
    """
    if row is None:
        kind = "orphan_parts" if held.upload_id else "orphan_object"
        return Leftover(kind, "no blob is known that it belongs to", young_seconds)
    if held.upload_id:
        if row.state == "uploading" and row.upload_id == held.upload_id:
            return "going"
        problem = f"its blob is {row.state} without these parts"
        return Leftover("orphan_parts", problem, margin_seconds)
    if held.key == row.key and row.state == "ready":
        return "kept"
    if held.key in (row.key, row.arrives_at) and row.state == "uploading":
        return "going"
    granted = held.key.startswith("staging/") or row.state in ("abandoned", "deleted")
    if granted and row.grants_until + domain.MARGIN > now:
        return "going"
    if row.state in ("uploading", "ready"):
        problem = "a copy that is not its blob's"
        if held.key.startswith("staging/"):
            problem = "it came after its upload had ended"
        return Leftover("orphan_object", problem, margin_seconds)
    return Leftover("orphan_object", f"its blob is {row.state}", margin_seconds)
