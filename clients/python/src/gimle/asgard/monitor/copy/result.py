"""A copy of one result: sent where it is not there, and compared with what is."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    CannotAppendError,
    DocumentError,
    LengthMismatchError,
    NotFoundError,
)
from gimle.asgard.monitor.copy.comparing import Fingerprint, difference, missing_rows
from gimle.asgard.monitor.copy.homes import Homes, TroubleError, keeps_documents
from gimle.asgard.monitor.copy.report import Tally


class Brought(NamedTuple):
    """What is at the target now: the digest of its document, and whether it was not before."""

    document: bytes
    wrote: bool


def bring(homes: Homes, tally: Tally, found: ResultDocument, *, listed: bool) -> Brought:
    """See that the target has the result that was `found`, as it is at the source now.

    listed: the run at the target lists it. Raises TroubleError, and the errors of both homes.
    """
    there = _there(homes, found.id) if listed else None
    if there is None:
        sent = _sent(homes, tally, found.id)
        if sent is not None:
            return sent
        # Who wrote it died before the run could list it; or it is something else.
        there = _there(homes, found.id)
    if there is None:
        raise TroubleError("refused", "its id is taken, but there is no such result")
    return _compared(homes, tally, found, there)


def _sent(homes: Homes, tally: Tally, result_id: str) -> Brought | None:
    """Send a result and see that it has come over; None when its id is taken."""
    result = homes.source.read_result(result_id)
    mine = homes.fingerprint(result)
    try:
        homes.target.add_result(result)
    except AlreadyExistsError:
        return None
    if result.extra and not keeps_documents(homes.target):
        names = ", ".join(sorted(result.extra))
        tally.note(f"result {result.id}: a service does not keep its keys {names}")
    del result  # it may be large, and is read again from the target
    tally.count(bytes_sent=mine.nbytes, results_copied=1)
    _check(homes, tally, result_id, mine)
    return Brought(mine.document, True)


def _compared(homes: Homes, tally: Tally, found: ResultDocument, there: ResultDocument) -> Brought:
    """Compare a result with what is there, and let that grow by what it lacks."""
    mine, theirs = homes.fingerprint(found), homes.fingerprint(there)
    if mine.document == theirs.document and not homes.verify:
        tally.count(results_present=1)
        return Brought(mine.document, False)
    result = homes.source.read_result(found.id)
    try:
        there = homes.target.read_result(found.id)
    except DocumentError as error:
        raise TroubleError("differs", f"it is there and damaged: {error}") from error
    mine, theirs = homes.fingerprint(result), homes.fingerprint(there)
    tally.count(bytes_compared=theirs.nbytes)
    differing = difference(mine, theirs)
    if not differing:
        tally.count(results_present=1)
        return Brought(mine.document, False)
    missing = missing_rows(result, there) if _same_head(homes, result, there) else None
    if missing is None:
        raise TroubleError("differs", f"it is there and {differing}")
    try:
        homes.target.append(found.id, missing.rows, missing.length)
    except (CannotAppendError, LengthMismatchError) as error:
        raise TroubleError("differs", f"it is there, shorter, and {error}") from error
    del result, there, missing
    tally.count(bytes_sent=max(0, mine.nbytes - theirs.nbytes), results_copied=1)
    _check(homes, tally, found.id, mine)
    return Brought(mine.document, True)


def _there(homes: Homes, result_id: str) -> ResultDocument | None:
    """The document at the target, None when there is none."""
    try:
        return homes.target.read_result_document(result_id)
    except NotFoundError:
        return None
    except DocumentError as error:
        raise TroubleError("differs", f"it is there and damaged: {error}") from error


def _same_head(homes: Homes, mine: ResultDocument, theirs: ResultDocument) -> bool:
    heads = (homes.fingerprint(replace(each, data={})).document for each in (mine, theirs))
    return len(set(heads)) == 1


def _check(homes: Homes, tally: Tally, result_id: str, mine: Fingerprint) -> None:
    """Read back what was written. Raises TroubleError when it is not what was sent."""
    try:
        if homes.verify:
            there = homes.target.read_result(result_id)
        else:
            there = homes.target.read_result_document(result_id)
    except (DocumentError, NotFoundError) as error:
        raise TroubleError("damaged", f"it was written, but {error}") from error
    theirs = homes.fingerprint(there)
    tally.count(bytes_compared=theirs.nbytes)
    differing = difference(mine, theirs)
    if differing:
        raise TroubleError("damaged", f"it was written, but {differing}")
