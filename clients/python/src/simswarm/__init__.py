"""SimSwarm: what its simulations leave behind, and how it moves.

    from simswarm import upload_artifacts

    assert upload_artifacts("./out", urls)

Names are loaded when they are first used, so that a pod that only uploads loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simswarm.report import write_report
    from simswarm.uploading import SentFile, Uploaded, upload_artifacts

__all__ = ["SentFile", "Uploaded", "upload_artifacts", "write_report"]

_HOMES = {
    "SentFile": "simswarm.uploading",
    "Uploaded": "simswarm.uploading",
    "upload_artifacts": "simswarm.uploading",
    "write_report": "simswarm.report",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
