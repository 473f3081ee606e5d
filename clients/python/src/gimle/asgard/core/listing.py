"""A new run with the results that are written beside it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.ids import check_id


def with_results(run: RunDocument, results: Sequence[ResultDocument]) -> RunDocument:
    """The run, with these results on its list.

    Raises InvalidFieldError for what cannot be an id, and for results of another run.
    """
    check_id(run.id, "run_id")
    for result in results:
        check_id(result.id, "result_id")
        if result.run_id != run.id:
            raise InvalidFieldError(
                "results.run_id", f"{result.run_id} is another run's", f"use {run.id}"
            )
    if not results:
        return run
    listed = dict.fromkeys((*run.results, *(result.id for result in results)))
    return replace(run, results=tuple(listed))
