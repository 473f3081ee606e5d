"""What lies below a folder, with nothing passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path


def below(folder: Path) -> list[Path]:
    """All that lies below a folder but folders, in the order of paths; links are not entered.

    Raises OSError for a folder below it that cannot be read, over which `Path.rglob` passes
    without a word.
    """
    found = []
    for top, _, names in os.walk(folder, onerror=_refuse):
        found += [Path(top, name) for name in names]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error
