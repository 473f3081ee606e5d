"""The Chronicle client: assets, experiments and the runs that make them.

from methodic import Chronicle

with Chronicle.from_env() as chronicle:
    chronicle.assets.create_inline(asset_type="research_report", content={"notes": "..."})
"""

from __future__ import annotations

from methodic.answers import Answer
from methodic.chronicle import Chronicle
from methodic.errors import (
    AuthenticationError,
    ChronicleAPIError,
    ChronicleConfigError,
    ChronicleError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ServerUnavailableError,
    TooLargeError,
    UploadError,
)
from methodic.handles import Experiment, Variation
from methodic.run import Run
from methodic.scopes import PERSONAL
from methodic.search import SearchFilters
from methodic.tracker import UploadTracker

__all__ = [
    "PERSONAL",
    "Answer",
    "AuthenticationError",
    "Chronicle",
    "ChronicleAPIError",
    "ChronicleConfigError",
    "ChronicleError",
    "ConflictError",
    "Experiment",
    "ForbiddenError",
    "InvalidRequestError",
    "NotFoundError",
    "Run",
    "SearchFilters",
    "ServerUnavailableError",
    "TooLargeError",
    "UploadError",
    "UploadTracker",
    "Variation",
]
