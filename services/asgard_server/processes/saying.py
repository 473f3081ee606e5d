"""What a process says when it serves, and when it cannot: in words, or JSON for machines."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from asgard_server.processes.starting import StartError
from asgard_server.settings import Settings


def say_ready(settings: Settings, service: str, words: str, **where: str) -> None:
    """Say on standard output that `service` serves: `words`, or `where` as an object of the log."""
    if settings.log_format == "json":
        words = _line(settings, service, "info", "serving", **where)
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def say_why_not(settings: Settings | None, service: str, error: StartError) -> None:
    """Say on standard error why `service` cannot run, and the mend; None: nor be configured."""
    if settings is not None and settings.log_format == "json":
        mend = {"mend": error.mend} if error.mend else {}
        words = _line(settings, service, "critical", "cannot run", error=str(error), **mend)
    else:
        words = f"asgard: {error}" + (f"\n  {error.mend}" if error.mend else "")
    sys.stderr.write(f"{words}\n")


def _line(settings: Settings, service: str, level: str, event: str, **more: str) -> str:
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    process = {"service": service, "replica": settings.replica}
    return json.dumps({"time": time, "level": level, "event": event, **process, **more})
