"""The URLs a pod was given, out of whatever it was told."""

from __future__ import annotations

import json

from gimle.asgard.core.errors import InvalidFieldError

_KEYS = ("uploads", "upload_urls", "files")


def upload_urls(text: str | bytes) -> dict[str, str]:
    """Read upload URLs by file name from JSON.

    It may be they themselves; `{"upload_urls": {...}}`, as a worker's job has them; or the answer
    of ClaimJob or ResumeJob, with `{"uploads": {"files": {...}}}`. Raises InvalidFieldError.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"it is not JSON: {error}") from None
    inner = said
    while isinstance(inner, dict) and (key := next((k for k in _KEYS if k in inner), None)):
        inner = inner[key]
    if inner is None or (isinstance(said, dict) and inner is said and "job" in said):
        raise InvalidFieldError(
            "grants",
            "the job has no upload URLs, for its server has no object store",
            "set MINIO_ENDPOINT at the server, and claim the job again",
        )
    if not isinstance(inner, dict) or not inner:
        raise _unreadable("it holds no upload URLs")
    if not all(isinstance(url, str) for url in inner.values()):
        raise _unreadable("not every file in it has a URL")
    return inner


def _unreadable(problem: str) -> InvalidFieldError:
    return InvalidFieldError("grants", problem, 'give {"posts.json": URL, ...}')
