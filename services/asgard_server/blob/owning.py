"""Bytes that lie under keys of their owners' own, held against what those know of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gimle.asgard.core.folder.fsck import Finding

from asgard_server.blob.digesting import digests
from asgard_server.blob.holdings import Holding, Holdings, Kept, Owner

_PAGE = 500


async def compared(
    owner: Owner, holdings: Holdings, *, deep: bool, margin_seconds: float
) -> AsyncIterator[Finding]:
    """What is missing, unknown, or was written over since its owner knew it.

    Nothing of it is ever removed: the keys are documented, and others may write there.
    """
    keys = _keys(owner)
    wanted = await anext(keys, None)
    async for held in holdings.objects(owner.folder):
        while wanted is not None and wanted.key.encode() < held.key.encode():
            if (finding := await _missing(wanted, holdings)) is not None:
                yield finding
            wanted = await anext(keys, None)
        if wanted is None or wanted.key != held.key:
            if held.age_seconds >= margin_seconds:
                yield _finding("unknown_object", held, "nobody knows of it")
            continue
        if (finding := await _differs(wanted, held, holdings, deep=deep)) is not None:
            yield finding
        wanted = await anext(keys, None)
    while wanted is not None:
        if (finding := await _missing(wanted, holdings)) is not None:
            yield finding
        wanted = await anext(keys, None)


async def _keys(owner: Owner) -> AsyncIterator[Kept]:
    behind = ""
    while page := await owner.keys(behind, _PAGE):
        for kept in page:
            yield kept
        behind = page[-1].key


async def _missing(kept: Kept, holdings: Holdings) -> Finding | None:
    if await holdings.now(kept.key) is not None:
        return None  # it came while we looked
    problem = f"it is gone, and {kept.owner} needs it"
    return Finding("missing_bytes", kept.key, problem, size_bytes=kept.size_bytes or 0)


async def _differs(kept: Kept, held: Holding, holdings: Holdings, *, deep: bool) -> Finding | None:
    if kept.size_bytes not in (None, held.size_bytes):
        problem = f"it has {held.size_bytes:,} bytes, not the {kept.size_bytes:,} of {kept.owner}"
        return _finding("overwritten", held, problem)
    if kept.etag is not None and kept.etag.strip('"') != held.etag:
        problem = f"it was written over after {kept.owner} had it"
        return _finding("overwritten", held, problem)
    if deep and kept.sha256 is not None:
        try:
            found = await digests(holdings.pieces(kept.key), None)
        except FileNotFoundError:
            return await _missing(kept, holdings)
        if found.sha256 != kept.sha256:
            problem = f"its bytes have the SHA-256 {found.sha256}, not {kept.sha256}"
            return _finding("wrong_digest", held, problem)
    return None


def _finding(kind: str, held: Holding, problem: str) -> Finding:
    return Finding(kind, held.key, problem, size_bytes=held.size_bytes)
