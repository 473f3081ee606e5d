"""What tells a repeat of a request from another request under the same id. Pure."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from gimle.asgard.core.arrays import same_bits
from gimle.asgard.core.documents import ResultDocument, RunDocument

from asgard_server.run.limits import CHANGEABLE


def same_run(wanted: RunDocument, found: RunDocument, *, timed: bool) -> bool:
    """Whether `found` is what creating `wanted` made. `timed`: the caller gave the time."""
    return all(
        same_value(getattr(wanted, name), getattr(found, name)) for name in (*CHANGEABLE, "status")
    ) and (not timed or wanted.created_at == found.created_at)


def same_result(wanted: ResultDocument, found: ResultDocument) -> bool:
    """Whether `found`, with its arrays, holds what adding `wanted` stored."""
    return (
        wanted.run_id == found.run_id
        and wanted.result_type == found.result_type
        and same_value(wanted.display, found.display)
        and same_value(wanted.data, found.data)
    )


def same_value(wanted: Any, found: Any) -> bool:
    """Whether two values of a field are the same, to the bit."""
    if hasattr(wanted, "dtype") and hasattr(found, "dtype"):
        return same_bits(wanted, found)
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            same_value(value, found[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(wanted) == len(found) and all(map(same_value, wanted, found))
    if isinstance(wanted, float) and isinstance(found, float) and math.isnan(wanted):
        return math.isnan(found)
    return bool(type(wanted) is type(found) and wanted == found)


def request_digest(*parts: bytes) -> bytes:
    """The digest that tells a repeat from another request under the same id."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()
