"""Blobs held against those who say that they need them.

Nothing is removed: whoever claimed blobs and is gone has left word that they are to go, and it is
for whoever delivers that; what is needed and not there is told of. Everybody goes on meanwhile, so
what differs is asked for once more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from gimle.asgard.core.folder.fsck import Finding

from asgard_server.blob.domain import Blob
from asgard_server.blob.holdings import Claimants, Needed, Rows

_PAGE = 500


async def claimed(claimants: Claimants, rows: Rows) -> AsyncIterator[Finding]:
    """Blobs that are claimed by nobody who is there, and blobs that somebody there misses."""
    async for blob, owner in _strangers(claimants, rows):
        problem = f"{blob.name} is claimed by {owner}, which is not there"
        yield Finding("claimed_by_nobody", blob.key, problem, size_bytes=blob.size_bytes or 0)
    page, behind = await claimants.needed("", _PAGE)
    while True:
        for each in await _missing(rows, claimants, page):
            problem = f"{each.owner} needs the blob {each.blob_id}, which is not there"
            yield Finding("missing_blob", f"blobs/{each.blob_id}", problem)
        if not behind:
            return
        page, behind = await claimants.needed(behind, _PAGE)


async def _strangers(claimants: Claimants, rows: Rows) -> AsyncIterator[tuple[Blob, str]]:
    behind = ""
    while page := await rows.page("", behind, _PAGE):
        behind = page[-1].name
        if found := await _gone(claimants, page):
            again = await rows.find([blob.id for blob, _ in found])
            for blob, owner in await _gone(claimants, list(again.values())):
                yield blob, owner


async def _gone(claimants: Claimants, page: Sequence[Blob]) -> list[tuple[Blob, str]]:
    claims = [
        (blob, owner) for blob in page for owner in blob.owners if owner.startswith(claimants.kind)
    ]
    there = await claimants.there([owner for _, owner in claims]) if claims else set()
    return [(blob, owner) for blob, owner in claims if owner not in there]


async def _missing(rows: Rows, claimants: Claimants, page: Sequence[Needed]) -> list[Needed]:
    known = await rows.find([each.blob_id for each in page])
    lacking = [each for each in page if each.blob_id not in known]
    # Deleted meanwhile, blobs and all.
    there = await claimants.there([each.owner for each in lacking]) if lacking else set()
    return [each for each in lacking if each.owner in there]
