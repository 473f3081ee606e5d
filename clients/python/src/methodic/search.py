"""What a search is narrowed to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from methodic.answers import Answer
from methodic.transport import Transport


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """Each narrows what is found; None does not. Times have a time zone."""

    asset_types: Sequence[str] | None = None
    states: Sequence[str] | None = None
    owner: str | None = None
    experiment_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """As the server takes it."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in found.items()
            if value is not None
        }


class Search:
    """`chronicle.search`: by words."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __call__(
        self,
        query: str = "",
        filters: SearchFilters | Mapping[str, Any] | None = None,
        *,
        experiment_context: str | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Answer:
        """A page: `.results` with `document_id`, `.asset_types` and `.states` with counts."""
        narrowed = filters.to_json() if isinstance(filters, SearchFilters) else filters
        asked = {
            "query": query,
            "filters": narrowed,
            "experiment_context": experiment_context,
            "page_size": page_size,
            "page_token": page_token,
        }
        found: Answer = self._transport.post("/v1/search", asked, safe=True)
        return found

    def iter(
        self, query: str = "", filters: SearchFilters | Mapping[str, Any] | None = None
    ) -> Iterator[Answer]:
        """Every result, page by page."""
        token = None
        while True:
            page = self(query, filters, page_token=token)
            yield from page.results
            token = page.get("next_page_token")
            if not token:
                return
