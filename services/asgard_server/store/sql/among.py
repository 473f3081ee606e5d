"""Conditions on lists of values: one value of the statement, however long the list."""

from __future__ import annotations

import json
from collections.abc import Iterable

from asgard_server.store.sql.session import Session


def among(session: Session, column: str, texts: Iterable[str]) -> tuple[str, object]:
    """A condition that a column is one of these texts, and the value for its placeholder.

    The statement is the same for all lengths, so that a plan made once serves all of them.
    """
    if session.engine == "sqlite":
        inside = f"{column} IN (SELECT value FROM json_each(?))"  # noqa: S608 - ours
        return inside, json.dumps(list(texts))
    return f"{column} = ANY(?::text[])", list(texts)
