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

    Nothing of it is ever removed: the keys are documented, and others may write there. Owner and
    store go on meanwhile, so what differs is asked for once more, of both.
    """
    wanted = {kept.key: kept async for kept in _keys(owner)}
    async for held in holdings.objects(owner.folder):
        kept = wanted.pop(held.key, None)
        if kept is not None and _problem(kept, held) is None and not deep:
            continue
        finding = await _looked_at(owner, holdings, held.key, deep=deep)
        if finding is not None and (
            finding.kind != "unknown_object" or held.age_seconds >= margin_seconds
        ):
            yield finding
    for key in wanted:
        if (finding := await _looked_at(owner, holdings, key, deep=deep)) is not None:
            yield finding


async def _keys(owner: Owner) -> AsyncIterator[Kept]:
    page, behind = await owner.keys("", _PAGE)
    while True:
        for kept in page:
            yield kept
        if not behind:
            return
        page, behind = await owner.keys(behind, _PAGE)


async def _looked_at(owner: Owner, holdings: Holdings, key: str, *, deep: bool) -> Finding | None:
    """How one key stands at this moment."""
    kept, held = await owner.kept(key), await holdings.now(key)
    if held is None:
        return None if kept is None else _missing(kept)
    if kept is None:
        return _finding("unknown_object", held, "nobody knows of it")
    if (problem := _problem(kept, held)) is not None:
        return _finding("overwritten", held, problem)
    if deep and kept.sha256 is not None:
        try:
            found = await digests(holdings.pieces(key), None)
        except FileNotFoundError:
            return _missing(kept)
        if found.sha256 != kept.sha256:
            problem = f"its bytes have the SHA-256 {found.sha256}, not {kept.sha256}"
            return _finding("wrong_digest", held, problem)
    return None


def _problem(kept: Kept, held: Holding) -> str | None:
    if kept.size_bytes not in (None, held.size_bytes):
        return f"it has {held.size_bytes:,} bytes, not the {kept.size_bytes:,} of {kept.owner}"
    if kept.etag is not None and kept.etag.strip('"') != held.etag:
        return f"it was written over after {kept.owner} had it"
    return None


def _missing(kept: Kept) -> Finding:
    problem = f"it is gone, and {kept.owner} needs it"
    return Finding("missing_bytes", kept.key, problem, size_bytes=kept.size_bytes or 0)


def _finding(kind: str, held: Holding, problem: str) -> Finding:
    return Finding(kind, held.key, problem, size_bytes=held.size_bytes)
