"""Finding assets by their words, and by what they were made from."""

from __future__ import annotations

from dataclasses import replace

from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.asset import pages, words
from asgard_server.asset.access_store import Finding, Found, Lineage, Place, Wanted
from asgard_server.auth.principal import Principal

_QUERY_CHARACTERS = 1_000
_WORDS = 32
_DEEPEST = 20
_USUAL_DEPTH = 5
_DIRECTIONS = {"": (True, True), "upstream": (True, False), "downstream": (False, True)}


class Finder:
    """What can be found of assets; nothing that the caller may not read."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding

    async def search(self, by: Principal, wanted: Wanted, behind: Place | None, size: int) -> Found:
        """What fits, the best first, one more than a page has if there are more."""
        return await self._finding.search(wanted, by, behind, size + 1)

    async def lineage(self, by: Principal, asset_id: str, direction: str, depth: int) -> Lineage:
        """What is upstream, downstream, or both. Raises `InvalidFieldError`, `NotFoundError`."""
        if direction not in _DIRECTIONS:
            mend = "give upstream, downstream, or neither for both"
            raise InvalidFieldError("direction", f"is {direction[:80]!r}", mend)
        if not 0 <= depth <= _DEEPEST:
            raise InvalidFieldError("depth", f"is {depth}", f"give 1 to {_DEEPEST}")
        up, down = _DIRECTIONS[direction]
        return await self._finding.lineage(
            asset_id, by, up=up, down=down, depth=depth or _USUAL_DEPTH
        )


def words_of(query: str) -> tuple[str, ...]:
    """The words of a query. Raises `InvalidFieldError`."""
    if len(query) > _QUERY_CHARACTERS:
        mend = f"give at most {_QUERY_CHARACTERS:,}"
        raise InvalidFieldError("query", f"has {len(query):,} characters", mend)
    found = tuple(words.words(query))
    if len(found) > _WORDS:
        raise InvalidFieldError("query", f"has {len(found)} words", f"give at most {_WORDS}")
    return found


def place_of(text: str) -> Place | None:
    """The place in a page token; None for none. Raises `PageTokenMismatchError`."""
    if not text:
        return None
    try:
        fit, at, asset_id = text.split("/", 2)
        place = Place(int(fit), int(at), asset_id)
    except ValueError:
        raise pages.mismatch() from None
    if not 0 <= place.fit <= 2 or not 0 <= place.created_at < 1 << 63:
        raise pages.mismatch()
    return place


def text_of(place: Place) -> str:
    """A place as a page token has it."""
    return f"{place.fit}/{place.created_at}/{place.id}"


def page_of(found: Found, size: int) -> tuple[Found, Place | None]:
    """A page without what is more than it has, and where the next one begins behind."""
    if len(found.hits) <= size:
        return found, None
    hits = found.hits[:size]
    return replace(found, hits=hits), hits[-1].place
