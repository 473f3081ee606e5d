"""Search by words: FTS5 in SQLite, tsvector in PostgreSQL; this is where they differ.

What is asked for is words, of letters and digits alone, which are put in quotes: nothing that a
caller writes is syntax. Words in the name count most, then those in the type; what fits alike is
listed newest first, so that a page has a place to begin behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from asgard_server.asset.access_store import MOST, Found, Hit, Place, Wanted
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import access, asset_rows
from asgard_server.store.sql.among import among
from asgard_server.store.sql.readable import readable
from asgard_server.store.sql.scopes import OWNED, scope_of
from asgard_server.store.sql.session import Session

_BEFORE, _SHOWN = 60, 200
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")

# The weights of the columns: name, type, content, metadata.
_NAME, _NAME_AND_TYPE, _ALL = "A", "AB", "ABCD"
_COLUMNS = {_NAME: "{name}", _NAME_AND_TYPE: "{name asset_type}", _ALL: ""}


async def search(
    session: Session, wanted: Wanted, by: Principal, behind: Place | None, limit: int
) -> Found:
    """What fits and the caller may read, behind a place; with how many there are."""
    chosen = None if wanted.is_hopeless else await _chosen(session, wanted)
    if chosen is None:
        return Found((), (), (), 0, is_more=False)
    where, values = chosen
    if wanted.words:
        places = await _by_words(session, wanted.words, where, values, by, behind, limit)
    else:
        position = None if behind is None else (behind.created_at, behind.id)
        found = await access.page(session, "asset", by, position, limit, where, values)
        places = [Place(0, *each) for each in found]
    assets = await asset_rows.load_many(session, [each.id for each in places])
    shown = await _snippets(session, [each.id for each in assets], wanted.words)
    at = {each.id: each for each in places}
    hits = tuple(Hit(at[each.id], each, shown.get(each.id, "")) for each in assets)
    return await _counted(session, wanted.words, where, values, by, hits)


async def _chosen(session: Session, wanted: Wanted) -> tuple[str, list[object]] | None:
    """A condition on `o`; None where nothing can fulfil it."""
    conditions, values = ["TRUE"], list[object]()
    for column, several in (("o.asset_type", wanted.asset_types), ("o.state", wanted.states)):
        if several:
            condition, value = among(session, column, several)
            conditions.append(condition)
            values.append(value)
    if wanted.owner:
        scope = await scope_of(session, wanted.owner)
        if scope is None:
            return None
        conditions.append(OWNED[scope.kind])
        values.append(scope.id)
    for condition, given in (
        ("o.experiment_id = ?", wanted.experiment_id or None),
        (_LINKED, wanted.linked_to or None),
        ("o.created_at > ?", wanted.created_after and micros(wanted.created_after)),
        ("o.created_at < ?", wanted.created_before and micros(wanted.created_before)),
    ):
        if given is not None:
            conditions.append(condition)
            values.append(given)
    return " AND ".join(conditions), values


_LINKED = "EXISTS (SELECT 1 FROM asset_links AS l WHERE l.asset_id = o.id AND l.experiment_id = ?)"


async def _by_words(
    session: Session,
    words: Sequence[str],
    where: str,
    values: Sequence[object],
    by: Principal,
    behind: Place | None,
    limit: int,
) -> list[Place]:
    tables, matched, matches = _matching(session, words)
    fit, fits = _fit(session, words)
    may, keys = readable(session, "asset", "o.id", by)
    further = "" if behind is None else " WHERE (fit, created_at, id) < (?, ?, ?)"
    rows = await session.all(
        f"SELECT fit, created_at, id FROM (SELECT {fit} AS fit, o.created_at, o.id"  # noqa: S608 - ours
        f" FROM {tables} WHERE {matched} AND {where} AND {may}) AS found{further}"
        " ORDER BY fit DESC, created_at DESC, id DESC LIMIT ?",
        *(*fits, *matches, *values, *keys, *(behind or ()), limit),
    )
    return [Place(*row) for row in rows]


async def _counted(
    session: Session,
    words: Sequence[str],
    where: str,
    values: Sequence[object],
    by: Principal,
    hits: tuple[Hit, ...],
) -> Found:
    tables, matched, matches = _matching(session, words)
    may, keys = readable(session, "asset", "o.id", by)
    rows = await session.all(
        "SELECT asset_type, state, count(*) FROM (SELECT o.asset_type, o.state"  # noqa: S608 - ours
        f" FROM {tables} WHERE {matched} AND {where} AND {may} LIMIT ?) AS found"
        " GROUP BY asset_type, state",
        *(*matches, *values, *keys, MOST + 1),
    )
    total = sum(row[2] for row in rows)
    return Found(
        hits,
        _facet((row[0], row[2]) for row in rows),
        _facet((row[1], row[2]) for row in rows),
        min(total, MOST),
        is_more=total > MOST,
    )


def _facet(counts: Any) -> tuple[tuple[Any, int], ...]:
    summed: dict[Any, int] = {}
    for value, count in counts:
        summed[value] = summed.get(value, 0) + count
    return tuple(sorted(summed.items(), key=lambda each: (-each[1], each[0])))


def _matching(session: Session, words: Sequence[str]) -> tuple[str, str, tuple[object, ...]]:
    """The tables, a condition that all words are there, and its values."""
    if not words:
        return "assets AS o", "TRUE", ()
    if session.engine == "sqlite":
        tables = (
            "asset_words CROSS JOIN asset_texts AS t ON t.number = asset_words.rowid"
            " CROSS JOIN assets AS o ON o.id = t.asset_id"
        )
        return tables, "asset_words MATCH ?", (_query(session, words, _ALL),)
    tables = "asset_texts AS t JOIN assets AS o ON o.id = t.asset_id"
    return tables, "t.words @@ ?::text::tsquery", (_query(session, words, _ALL),)


def _fit(session: Session, words: Sequence[str]) -> tuple[str, tuple[object, ...]]:
    """How well something fits, 0 to 2, and the values of that."""
    if session.engine == "sqlite":
        one = "t.number IN (SELECT rowid FROM asset_words WHERE asset_words MATCH ?)"
    else:
        one = "t.words @@ ?::text::tsquery"
    queries = (_query(session, words, _NAME), _query(session, words, _NAME_AND_TYPE))
    return f"CASE WHEN {one} THEN 2 WHEN {one} THEN 1 ELSE 0 END", queries


def _query(session: Session, words: Sequence[str], weights: str) -> str:
    """All words in texts of these weights; the last may go on."""
    if session.engine == "sqlite":
        said = " AND ".join(f'"{word}"' for word in words)
        column = _COLUMNS[weights]
        return f"{column} : ({said} *)" if column else f"{said} *"
    marks = "" if weights == _ALL else weights
    said = " & ".join(f"'{word}'" + (f":{marks}" if marks else "") for word in words[:-1])
    return (f"{said} & " if said else "") + f"'{words[-1]}':*{marks}"


async def _snippets(session: Session, ids: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """A piece of each text around the first of the words, in one line of plain text."""
    if not ids or not words:
        return {}
    chosen, keys = among(session, "asset_id", ids)
    whole = "name || ' ' || content || ' ' || metadata"
    where, most = ("instr", "max") if session.engine == "sqlite" else ("strpos", "greatest")
    rows = await session.all(
        f"SELECT asset_id, substr(whole, {most}(1, {where}(lower(whole), ?) - {_BEFORE}), {_SHOWN})"  # noqa: S608 - ours
        f" FROM (SELECT asset_id, {whole} AS whole FROM asset_texts WHERE {chosen}) AS texts",
        *(words[0], keys),
    )
    return {row[0]: _SPACE.sub(" ", row[1]).strip() for row in rows}
