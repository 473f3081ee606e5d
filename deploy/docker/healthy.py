#!/opt/asgard/bin/python
"""Ask the process in this container whether it lives: the image's HEALTHCHECK.

`serve run`, `asset`, `blob` and `gateway` answer on the metrics port, `serve all` on that of
the page. There is no shell and no curl in this. Exit status 0 when it answers, 1 when nobody does.
"""

from __future__ import annotations

import http.client
import os
import sys

WITHIN_SECONDS = 2.0


def lives(port: int) -> bool:
    """Whether /healthz of this port says so."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Ask the ports that this container may have; answer the exit status."""
    ports = (
        int(os.environ.get("ASGARD_METRICS_PORT", "9464")),
        int(os.environ.get("ASGARD_PORT", "8000")),
    )
    return 0 if any(lives(port) for port in ports) else 1


if __name__ == "__main__":
    sys.exit(main())
