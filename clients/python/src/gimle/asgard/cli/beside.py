"""`python -m gimle.asgard.cli.beside PARENT ...`: the command line, ending when its parent does.

Even a parent that is killed outright then leaves no monitor behind that holds the port.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from gimle.asgard.cli import main

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the process `parent` dies; Linux only, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            # It died before it could be watched.
            sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    main()
